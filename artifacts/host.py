"""The process of one model: loads it, then predicts, until it is told nothing more.

A stranger's code runs here and nowhere in the agent. What it does to this process costs its own
requests alone.
"""

import os
import pickle
import socket
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from artifacts.frames import Matrix
from artifacts.load import unpickle, wants_frame
from artifacts.shown import said
from artifacts.wire import WireError, pack, receive, send

# Their predict is the argmax of predict_proba (scikit-learn's own code), and costs it twice.
_ARGMAX = (RandomForestClassifier, ExtraTreesClassifier, DecisionTreeClassifier)


def serve(sock: socket.socket) -> None:
    """Load the model in the first message, then answer each of the others; then end."""
    try:
        _, content = receive(sock)
        estimator = _load(sock, bytes(content))
        del content
        while True:
            _, body = receive(sock)
            # Of our own agent, which no model can speak for.
            _answer(sock, estimator, pickle.loads(body))  # noqa: S301
    except MemoryError:
        # What is left of this process may be in any state.
        send(sock, {"out_of_memory": True})
    except (WireError, OSError):
        pass
    os._exit(0)


def _load(sock: socket.socket, content: bytes) -> Any:  # noqa: ANN401 - any estimator
    try:
        estimator, version = unpickle(content)
        as_frame = wants_frame(estimator)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - unpickling runs a stranger's code
        send(sock, {"error": said(error)})
        os._exit(0)
    send(sock, {"version": version, "as_frame": as_frame})
    return estimator


def _answer(sock: socket.socket, estimator: Any, matrix: Matrix) -> None:  # noqa: ANN401
    try:
        labels, shares = predict(estimator, matrix)
        described, parts = pack([labels] if shares is None else [labels, shares])
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - predict is a stranger's code
        send(sock, {"error": said(error)})
    else:
        send(sock, {"columns": described}, *parts)


def predict(
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    matrix: Matrix,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return predictions of shape (rows, …) and, where there are any, probabilities (rows, k)."""
    if type(estimator) is Pipeline and len(estimator) > 1:
        # Its steps before the last would run once for the labels and once for the probabilities.
        matrix = estimator[:-1].transform(matrix)
        estimator = estimator[-1]
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(matrix)), None
    probabilities = estimator.predict_proba(matrix)
    if not isinstance(probabilities, np.ndarray):
        # A list with an array for each output: there is no column for that in either protocol.
        return np.asarray(estimator.predict(matrix)), None
    if isinstance(estimator, _ARGMAX):
        return estimator.classes_.take(np.argmax(probabilities, axis=1)), probabilities
    return np.asarray(estimator.predict(matrix)), probabilities
