"""Open Inference Protocol V2: named tensors in, named tensors out.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
A tensor of shape [n] or [n, 1] is a column, named like its field; a single tensor of shape [n, k]
is the whole table, its columns in the order of the input schema.
"""

from itertools import chain
from typing import Any

import orjson

from scoring.codecs.tables import Prediction, Served, Table
from scoring.errors import invalid

_WHOLE = frozenset({int})
_REAL = frozenset({int, float})
_ALLOWED: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    **{f"{sign}INT{bits}": _WHOLE for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **dict.fromkeys(("FP16", "FP32", "FP64"), _REAL),
    "BYTES": frozenset({str}),
}
_NULL = type(None)
_MATRIX = 2


def decode(body: dict[str, Any]) -> list[Table]:
    """Return the one table that ``inputs`` make up. Raises ScoringError, naming the tensor."""
    inputs = body.get("inputs")
    if type(inputs) is not list or not inputs:
        raise invalid('"inputs" is a list of tensors, at least one', "inputs")
    tensors = [_tensor(entry, index) for index, entry in enumerate(inputs)]
    name, height, width, flat = tensors[0]
    if len(tensors) == 1 and width is not None:
        return [Table(None, [flat[at : at + width] for at in range(0, len(flat), width)])]
    for other, rows, columns, _ in tensors:
        if columns is not None:
            raise invalid(
                f"tensor {other!r} has {columns} columns: several inputs are columns of shape [n]",
                other,
            )
        if rows != height:
            raise invalid(f"{other!r} has {rows} rows and {name!r} {height}", other)
    columns_of = [tensor[3] for tensor in tensors]
    fields = tuple(tensor[0] for tensor in tensors)
    return [Table(fields, [list(row) for row in zip(*columns_of, strict=True)])]


def _tensor(entry: object, index: int) -> tuple[str, int, int | None, list[Any]]:
    """Return name, rows, columns (None: it is one column) and the data, flat and row by row."""
    where = f"inputs[{index}]"
    if type(entry) is not dict:
        raise invalid("an input is an object with name, shape, datatype and data", where)
    name, shape, datatype, data = (entry.get(key) for key in ("name", "shape", "datatype", "data"))
    if type(name) is not str or not name:
        raise invalid("a tensor has a name", f"{where}.name")
    if (
        type(shape) is not list
        or set(map(type, shape)) != _WHOLE
        or len(shape) > _MATRIX
        or min(shape) < 1
    ):
        raise invalid("shape is [n] or [n, k], whole numbers from 1", f"{where}.shape")
    if type(datatype) is not str or datatype not in _ALLOWED:
        raise invalid(f"datatype is one of {', '.join(_ALLOWED)}", f"{where}.datatype")
    if type(data) is not list:
        raise invalid("data is a list", f"{where}.data")
    width = shape[1] if len(shape) == _MATRIX else 1
    if data and type(data[0]) is list:
        if any(type(row) is not list or len(row) != width for row in data):
            raise invalid(f"nested data has rows of {width} values", f"{where}.data")
        data = list(chain.from_iterable(data))
    if len(data) != shape[0] * width:
        raise invalid(
            f"shape {shape} means {shape[0] * width} values, data has {len(data)}", f"{where}.data"
        )
    # The protocol has no missing values: null is how JSON says it, and the schema decides.
    strangers = set(map(type, data)) - _ALLOWED[datatype] - {_NULL}
    if strangers:
        kinds = ", ".join(sorted(kind.__name__ for kind in strangers))
        raise invalid(f"{datatype} data has values of type {kinds}", f"{where}.data")
    return name, shape[0], None if width == 1 else width, data


def encode(
    served: Served, request_id: str, results: list[Prediction], place: tuple[int, int]
) -> bytes:
    """Return the answer: a ``prediction`` tensor and, if any, ``probability`` [n, k]."""
    (result,) = results
    outputs = [_output("prediction", result.predictions)]
    if result.probabilities is not None:
        outputs.append(_output("probability", result.probabilities))
    partition, offset = place
    body = {
        "id": request_id,
        "model_name": served.deployment_id,
        "model_version": str(served.revision),
        "outputs": outputs,
        "parameters": {
            "asset_id": served.asset_id,
            "request": {"partition": partition, "offset": offset},
        },
    }
    return orjson.dumps(body)


def _output(name: str, values: list[Any]) -> dict[str, Any]:
    """Return a tensor of values: scalars, or lists of one length."""
    shape = [len(values)]
    if type(values[0]) is list:
        shape.append(len(values[0]))
        values = list(chain.from_iterable(values))
    kinds = set(map(type, values))
    datatype = "BYTES"
    if kinds == {bool}:
        datatype = "BOOL"
    elif kinds == _WHOLE:
        datatype = "INT64"
    elif kinds <= _REAL:
        datatype = "FP64"
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}
