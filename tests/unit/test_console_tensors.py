"""Binary tensors, as a client that nobody here wrote sends them."""

import json

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from console.problems import Problem
from console.tensors import as_json


def sent(*tensors):
    """What tritonclient makes of named arrays: the body and the length of its JSON."""
    inputs = []
    for name, array, datatype in tensors:
        tensor = InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    body, length = InferenceServerClient.generate_request_body(inputs)
    return body, str(len(body) if length is None else length)


@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.array([1.5, -2.0]), "FP64"),
        (np.array([1.5, 0.1], np.float32), "FP32"),
        (np.array([1.5], np.float16), "FP16"),
        (np.array([[1, -2], [3, 4]], np.int64), "INT64"),
        (np.array([255], np.uint8), "UINT8"),
        (np.array([True, False]), "BOOL"),
    ],
)
def test_numbers_come_out_as_they_went_in(array, datatype):
    document = json.loads(as_json(*sent(("x", array, datatype))))
    (tensor,) = document["inputs"]
    assert tensor["data"] == array.ravel().tolist()
    assert tensor["shape"] == list(array.shape)
    assert "binary_data_size" not in tensor["parameters"]


def test_texts_and_missing_values():
    texts = np.array(["a", "ü", ""], dtype=object)
    numbers = np.array([1.0, np.nan, 3.0])
    document = json.loads(as_json(*sent(("t", texts, "BYTES"), ("n", numbers, "FP64"))))
    assert [tensor["data"] for tensor in document["inputs"]] == [["a", "ü", ""], [1.0, None, 3.0]]


def binary(size, datatype="FP64", **more):
    tensor = {"name": "x", "datatype": datatype, "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor], **more}).encode()


@pytest.mark.parametrize(
    ("document", "data", "message"),
    [
        (b"[]", b"", "inputs"),
        (b"{", b"", "not JSON"),
        (b'{"inputs": 3}', b"", "inputs"),
        (binary(9), b"12345678", "binary_data_size is a number of bytes"),
        (binary(-1), b"", "binary_data_size is a number of bytes"),
        (binary("8"), b"12345678", "binary_data_size is a number of bytes"),
        (binary(7), b"1234567", "no FP64 values"),
        (binary(8), b"123456789", "1 bytes follow"),
        (binary(8, "BF16"), b"12345678", "binary data is of"),
        (binary(8, ["FP64"]), b"12345678", "binary data is of"),
        (binary(8), np.array([np.inf]).tobytes(), "infinite"),
        (binary(3, "BYTES"), b"\0\0\0", "ends within a length"),
        (binary(5, "BYTES"), b"\2\0\0\0a", "ends within a text"),
        (binary(5, "BYTES"), b"\1\0\0\0\xff", "UTF-8"),
    ],
)
def test_what_is_no_tensor_is_refused(document, data, message):
    with pytest.raises(Problem) as refused:
        as_json(document + data, str(len(document)))
    assert refused.value.status_code == 400
    assert message in refused.value.detail


@pytest.mark.parametrize("length", ["", "-1", "x", "3", "\u0662", "1" * 5000])
def test_a_length_beyond_the_body_is_refused(length):
    with pytest.raises(Problem, match="400"):
        as_json(b"{}", length)
