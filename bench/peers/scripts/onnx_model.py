"""Convert a joblib file to ONNX: a matrix of floats in; labels and a matrix of shares out."""

import sys
from pathlib import Path

import joblib
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

source, goal = sys.argv[1:]
estimator = joblib.load(source)
model = to_onnx(
    estimator,
    initial_types=[("rows", FloatTensorType([None, estimator.n_features_in_]))],
    options={"zipmap": False},
)
Path(goal).write_bytes(model.SerializeToString())
