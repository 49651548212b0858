"""The binary tensor data extension of Open Inference Protocol V2: bytes behind the JSON.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import re
import struct
from typing import Any

import numpy as np
import orjson

from console.problems import Problem

# Little-endian, as the extension says.
_TYPES = {
    "BOOL": "?",
    **{
        f"{sign}INT{bits}": f"<{code}{bits // 8}"
        for bits in (8, 16, 32, 64)
        for sign, code in (("", "i"), ("U", "u"))
    },
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_LENGTH_FORM = re.compile(r"\d{1,18}", re.ASCII)
_LENGTH = struct.Struct("<I")


def as_json(body: bytes, json_length: str) -> bytes:
    """Return the request with its binary tensors as JSON lists. Raises Problem."""
    if not _LENGTH_FORM.fullmatch(json_length) or int(json_length) > len(body):
        raise _invalid(
            "Inference-Header-Content-Length is the length of the JSON at the body's begin, at "
            f"most {len(body)} here, not {json_length[:40]!r}"
        )
    begin = int(json_length)
    try:
        document = orjson.loads(body[:begin])
    except orjson.JSONDecodeError as error:
        raise _invalid(f"the first {begin} bytes are not JSON: {error}") from None
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list):
        raise _invalid('"inputs" is a list of tensors, at least one')
    for tensor in inputs:
        options = tensor.get("parameters") if isinstance(tensor, dict) else None
        size = options.pop("binary_data_size", None) if isinstance(options, dict) else None
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - begin:
            raise _invalid(f"binary_data_size is a number of bytes that follow, not {size!r}")
        tensor["data"] = _values(tensor.get("datatype"), body[begin : begin + size])
        begin += size
    if begin != len(body):
        raise _invalid(f"{len(body) - begin} bytes follow that no tensor's binary_data_size names")
    try:
        return orjson.dumps(document)
    except TypeError as error:
        raise _invalid(f"a tensor's values are no JSON: {error}") from None


def _values(datatype: Any, data: bytes) -> list[Any]:  # noqa: ANN401 - any JSON value
    if datatype == "BYTES":
        return _texts(data)
    if not isinstance(datatype, str) or datatype not in _TYPES:
        raise _invalid(f"binary data is of {', '.join(_TYPES)} or BYTES, not {datatype!r}")
    try:
        values = np.frombuffer(data, _TYPES[datatype])
    except ValueError as error:
        raise _invalid(f"{len(data)} bytes are no {datatype} values: {error}") from None
    if values.dtype.kind == "f":
        # JSON has neither NaN nor infinity; what is missing is null.
        wide = values.astype(float)
        if np.isinf(wide).any():
            raise _invalid("a value is infinite: JSON has no such number")
        return [None if value != value else value for value in wide.tolist()]  # noqa: PLR0124
    found: list[Any] = values.tolist()
    return found


def _texts(data: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise _invalid("BYTES data ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise _invalid("BYTES data ends within a text")
        try:
            texts.append(data[at : at + length].decode())
        except UnicodeDecodeError:
            raise _invalid("BYTES data holds texts in UTF-8 here") from None
        at += length
    return texts


def _invalid(message: str) -> Problem:
    return Problem(400, "invalid_request", message)
