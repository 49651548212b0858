"""What travels between an agent and the process of a model: a JSON head and bytes.

Only plain numbers and JSON come back from a model: what it says is never unpickled.
"""

import contextlib
import json
import math
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Lengths of the head and of the body, in bytes.
_LENGTHS = struct.Struct("!IQ")
MAX_HEAD = 1024**2
MAX_BODY = 1024**3
_NUMBERS = frozenset("biuf")

# The time-out of a socket whose other side is waited for with Patience.
STEP_S = 0.1

# Orders to the fork server, and the most bytes of one or of its answer.
FORK = b"fork"
END = b"end"
LINE = 64

Column = npt.NDArray[Any] | list[Any]


class WireError(Exception):
    """What came is not what is spoken here, or the other side is gone."""


class OverdueError(Exception):
    """Nothing came within the time limit."""


class Patience:
    """Seconds that may be spent on the other side; a pause of this process does not count.

    Counted in steps no longer than the socket's time-out: what a step takes beyond it, this process
    (or the machine) stood still, and what the model answered meanwhile is there.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def spent(self, begun: float) -> None:
        """Count a step that began at ``begun`` (time.monotonic). Raises OverdueError."""
        self._left -= min(time.monotonic() - begun, STEP_S)
        if self._left <= 0:
            raise OverdueError


def send(
    sock: socket.socket,
    head: dict[str, Any],
    *body: bytes | memoryview,
    patience: Patience | None = None,
) -> None:
    """Send a message; ``patience`` None waits for ever, else the socket's time-out is STEP_S.

    Raises OSError where the other side is gone, OverdueError past the patience.
    """
    text = json.dumps(head).encode()
    size = sum(len(part) for part in body)
    for part in (_LENGTHS.pack(len(text), size) + text, *body):
        if patience is None:
            sock.sendall(part)
        else:
            _send(sock, memoryview(part), patience)


def _send(sock: socket.socket, part: memoryview, patience: Patience) -> None:
    at = 0
    while at < len(part):
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            at += sock.send(part[at:])
        if at < len(part):
            patience.spent(begun)


def receive(
    sock: socket.socket, patience: Patience | None = None
) -> tuple[dict[str, Any], bytearray]:
    """Return the next message; ``patience`` as in ``send``.

    Raises WireError, and OverdueError past the patience.
    """
    lengths = _read(sock, _LENGTHS.size, patience)
    head_size, body_size = _LENGTHS.unpack(lengths)
    if head_size > MAX_HEAD or body_size > MAX_BODY:
        raise WireError(f"a message of {head_size} and {body_size} bytes")
    text = _read(sock, head_size, patience)
    body = _read(sock, body_size, patience)
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError("a head that is not JSON") from None
    if not isinstance(head, dict):
        raise WireError("a head that is no object")
    return head, body


def _read(sock: socket.socket, size: int, patience: Patience | None) -> bytearray:
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        begun = time.monotonic()
        try:
            count = sock.recv_into(view[at:])
        except TimeoutError:
            count = None
        except OSError as error:
            raise WireError(str(error)) from None
        if count == 0:
            raise WireError("the connection ended")
        at += count or 0
        if patience is not None and at < size:
            patience.spent(begun)
    return buffer


def pack(columns: Sequence[npt.NDArray[Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return descriptions and bytes of arrays: numbers as they lie in memory, all else as JSON.

    Raises TypeError where a value is no JSON.
    """
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for column in columns:
        if column.dtype.kind in _NUMBERS:
            parts.append(np.ascontiguousarray(column).tobytes())
            described.append({"dtype": column.dtype.str, "shape": list(column.shape)})
        else:
            parts.append(json.dumps(column.tolist()).encode())
            described.append({"json": len(parts[-1])})
    return described, parts


def unpack(described: Any, body: bytearray) -> list[Column]:  # noqa: ANN401 - a stranger's JSON
    """Return the arrays and lists of a message. WireError: they are not as described."""
    columns: list[Column] = []
    at = 0
    try:
        for entry in described:
            if "json" in entry:
                end = at + int(entry["json"])
                column = json.loads(body[at:end])
                if not isinstance(column, list):
                    raise WireError("a column that is no list")
                columns.append(column)
            else:
                dtype, shape = np.dtype(entry["dtype"]), [int(size) for size in entry["shape"]]
                if dtype.kind not in _NUMBERS or min(shape, default=0) < 0:
                    raise WireError(f"an array of {dtype} and shape {shape}")
                end = at + math.prod(shape) * dtype.itemsize
                columns.append(np.frombuffer(body[at:end], dtype).reshape(shape))
            at = end
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"columns that are not as described: {error}") from None
    return columns
