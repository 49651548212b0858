"""Watson Machine Learning v4: ``input_data`` with fields and values in, ``predictions`` out.

Source: https://cloud.ibm.com/apidocs/machine-learning#deployments-compute-predictions
"""

from typing import Any

import orjson

from scoring.codecs.tables import Prediction, Served, Table
from scoring.errors import invalid


def decode(body: dict[str, Any]) -> list[Table]:
    """Return the tables of ``input_data``. Raises ScoringError, naming the member at fault."""
    data = body.get("input_data")
    if type(data) is not list or not data:
        raise invalid(
            'a request has "input_data": [{"fields": […], "values": [[…], …]}] (WML) or '
            '"inputs": […] (Open Inference Protocol V2)',
            "input_data",
        )
    tables = []
    for index, entry in enumerate(data):
        if type(entry) is not dict:
            raise invalid("an entry is an object with fields and values", f"input_data[{index}]")
        tables.append(_table(entry, index))
    return tables


def _table(entry: dict[str, Any], index: int) -> Table:
    rows = entry.get("values")
    if type(rows) is not list or not rows:
        raise invalid("values is a list of rows, at least one", f"input_data[{index}].values")
    fields = entry.get("fields")
    if fields is not None:
        # A set of types: one pass in C for the whole list.
        if type(fields) is not list or set(map(type, fields)) != {str}:
            raise invalid("fields is a list of names", f"input_data[{index}].fields")
        fields = tuple(fields)
    width = len(fields) if fields is not None else -1
    for number, row in enumerate(rows):
        if type(row) is not list or (width >= 0 and len(row) != width):
            what = f"{len(row)} values" if type(row) is list else "not a list"
            raise invalid(
                f"row {number} is {what}, expected a list of {width} values"
                if width >= 0
                else f"row {number} is not a list of values",
                f"input_data[{index}].values[{number}]",
            )
    return Table(fields, rows)


def encode(
    served: Served, request_id: str, results: list[Prediction], place: tuple[int, int]
) -> bytes:
    """Return the answer: an entry of ``predictions`` for each entry of ``input_data``."""
    return b'{"id":%b,%b,"predictions":[%b],"request":{"partition":%d,"offset":%d}}' % (
        orjson.dumps(request_id),
        served.members,
        b",".join([_entry(result) for result in results]),
        *place,
    )


def _entry(result: Prediction) -> bytes:
    predictions, probabilities = result
    if probabilities is None:
        values = orjson.dumps([[prediction] for prediction in predictions])
        return b'{"fields":["prediction"],"values":%b}' % values
    values = orjson.dumps(list(zip(predictions, probabilities, strict=True)))
    return b'{"fields":["prediction","probability"],"values":%b}' % values
