"""Requests that are still owed an answer although the partition has gone on behind them.

A slow or hanging model must not hold up the others: a batch is committed without what is late, and
the committed offset's metadata says which requests before it are not answered yet. Whoever takes
the partition over answers these first. Source of the idea: Kafka's commit metadata is the
consumer's own text, stored with the offset in the same transaction.
"""

import base64
import zlib
from collections.abc import Iterable

# Of the broker's offset.metadata.max.bytes, 4096 by default; the holder's name stands there, too.
MAX_CHARS = 4000
_MARK = "owed1:"


def encode(offsets: Iterable[int]) -> str:
    """Return the commit metadata that names ``offsets``; "" where there are none."""
    ordered = sorted(offsets)
    if not ordered:
        return ""
    first = ordered[0]
    bits = bytearray((ordered[-1] - first) // 8 + 1)
    for offset in ordered:
        at = offset - first
        bits[at // 8] |= 1 << at % 8
    return f"{_MARK}{first}:{base64.b64encode(zlib.compress(bytes(bits))).decode()}"


def decode(metadata: str) -> frozenset[int]:
    """Return the offsets that ``metadata`` names; none where another program wrote it."""
    if not metadata.startswith(_MARK):
        return frozenset()
    first, _, packed = metadata.removeprefix(_MARK).partition(":")
    bits = zlib.decompress(base64.b64decode(packed))
    return frozenset(
        int(first) + 8 * at + bit
        for at, byte in enumerate(bits)
        for bit in range(8)
        if byte >> bit & 1
    )
