"""What travels between an agent and the process of a model: a JSON head and bytes.

Only plain numbers and JSON come back from a model: what it says is never unpickled.
"""

import asyncio
import json
import math
import socket
import struct
import time
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

# Lengths of the head and of the body, in bytes.
_LENGTHS = struct.Struct("!IQ")
MAX_HEAD = 1024**2
MAX_BODY = 1024**3
_NUMBERS = frozenset("biuf")

# A step of waiting with a limit.
STEP_S = 0.25
_SMALL = 64 * 1024

# Orders to the fork server, and the most bytes of one or of its answer.
FORK = b"fork"
END = b"end"
LINE = 64

Column = npt.NDArray[Any] | list[Any]

# A head and a body.
Message = tuple[dict[str, Any], bytearray]

T = TypeVar("T")


class WireError(Exception):
    """What came is not what is spoken here, or the other side is gone."""


class OverdueError(Exception):
    """Nothing came within the time limit."""


def send(sock: socket.socket, head: dict[str, Any], *body: bytes) -> None:
    """Send a message. Raises OSError where the other side is gone."""
    for part in _framed(head, *body):
        sock.sendall(part)


def _framed(head: dict[str, Any], *body: bytes) -> list[bytes]:
    """Return what to send: one piece where it is small, for each wakes the other side."""
    text = json.dumps(head).encode()
    size = sum(len(part) for part in body)
    start = _LENGTHS.pack(len(text), size) + text
    return [b"".join([start, *body])] if size <= _SMALL else [start, *body]


def receive(sock: socket.socket) -> Message:
    """Return the next message, whenever it comes. Raises WireError."""
    incoming = _Incoming()
    while incoming.message is None:
        try:
            count = sock.recv_into(incoming.room)
        except OSError as error:
            raise WireError(str(error)) from None
        incoming.take(count)
    return incoming.message


async def exchange(sock: socket.socket, body: bytes) -> Message:
    """Send ``body`` over ``sock``, which does not block, and return what comes back.

    Raises WireError and OSError where the other side is gone or does not speak as it should.
    """
    loop = asyncio.get_running_loop()
    for part in _framed({}, body):
        await loop.sock_sendall(sock, part)
    incoming = _Incoming()
    while incoming.message is None:
        incoming.take(await loop.sock_recv_into(sock, incoming.room))
    return incoming.message


async def within(limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` does; past ``limit_s`` cancel it and raise OverdueError.

    Counted in steps: what one takes beyond STEP_S, this process (or the machine) stood still, and
    that is not the time of whom it waits for.
    """
    task = asyncio.ensure_future(work)
    left = limit_s
    try:
        while left > 0:
            begun = time.monotonic()
            await asyncio.wait([task], timeout=min(left, STEP_S))
            if task.done():
                return task.result()
            left -= min(time.monotonic() - begun, STEP_S)
        raise OverdueError
    finally:
        task.cancel()


class _Incoming:
    """A message on its way: the ``room`` for its next bytes and, once it is whole, what it is."""

    def __init__(self) -> None:
        self._reading = _reading()
        self.room = next(self._reading)
        self.message: Message | None = None

    def take(self, count: int) -> None:
        """Go on from the ``count`` bytes that came; 0: none will. Raises WireError."""
        try:
            self.room = self._reading.send(count)
        except StopIteration as end:
            self.message = end.value


def _reading() -> Generator[memoryview, int, Message]:
    """Yield where the next bytes go, take how many came, and return the message."""
    lengths = yield from _filled(_LENGTHS.size)
    head_size, body_size = _LENGTHS.unpack(lengths)
    if head_size > MAX_HEAD or body_size > MAX_BODY:
        raise WireError(f"a message of {head_size} and {body_size} bytes")
    text = yield from _filled(head_size)
    body = yield from _filled(body_size)
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError("a head that is not JSON") from None
    if not isinstance(head, dict):
        raise WireError("a head that is no object")
    return head, body


def _filled(size: int) -> Generator[memoryview, int, bytearray]:
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        count = yield view[at:]
        if not count:
            raise WireError("the connection ended")
        at += count
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


def listed(column: Column) -> list[Any]:
    """Return a column's values; of an array without a length none."""
    if isinstance(column, list):
        return column
    return column.tolist() if column.ndim else []


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
