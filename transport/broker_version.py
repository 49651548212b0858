"""Which release of Apache Kafka a broker is, by the features that it says it supports.

ApiVersions, version 3: https://kafka.apache.org/protocol#The_Messages_ApiVersions. aiokafka asks
for version 2, which tells of no features; the answer has a header of its own kind (KIP-511), so it
is asked for here on a connection of its own.
"""

import asyncio
import contextlib
import struct
from io import BytesIO

TIMEOUT_S = 5.0

_API_VERSIONS = 18
_SUPPORTED_FEATURES = 0
# The first metadata.version of each release, org.apache.kafka.server.common.MetadataVersion.
_RELEASES = (
    (30, "4.3"),
    (28, "4.2"),
    (26, "4.1"),
    (22, "4.0"),
    (21, "3.9"),
    (20, "3.8"),
    (15, "3.7"),
    (12, "3.6"),
    (9, "3.5"),
    (8, "3.4"),
    (7, "3.3"),
)


async def broker_version(bootstrap_servers: str) -> str:
    """Return the release, e.g. ``4.3``, or ``4.3 or newer``; empty where the broker does not say.

    Of the first of the servers that answers. Raises OSError or TimeoutError where none does.
    """
    *others, last = bootstrap_servers.split(",")
    for server in others:
        with contextlib.suppress(OSError):
            return await _release(server)
    return await _release(last)


async def _release(server: str) -> str:
    host, _, port = server.strip().rpartition(":")
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(_request())
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            answer = await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            return ""
        finally:
            writer.close()
    level = _features(BytesIO(answer)).get("metadata.version", 0)
    newest = _RELEASES[0][0]
    named = next((name for first, name in _RELEASES if level >= first), "")
    return f"{named} or newer" if level > newest + 1 else named


def _request() -> bytes:
    client = b"baton"
    header = struct.pack(">hhih", _API_VERSIONS, 3, 1, len(client)) + client + b"\0"
    # Name and version of the client's software: compact strings, whose length is one more.
    body = bytes([len(client) + 1]) + client + bytes([2]) + b"1" + b"\0"
    return struct.pack(">i", len(header + body)) + header + body


def _features(answer: BytesIO) -> dict[str, int]:
    """Return the highest supported level of each feature."""
    answer.read(4 + 2)  # correlation id, error
    for _ in range(_unsigned(answer) - 1):
        answer.read(6)  # api, lowest and highest version
        _skip_tags(answer)
    answer.read(4)  # throttle time
    found = {}
    for _ in range(_unsigned(answer)):
        tag, size = _unsigned(answer), _unsigned(answer)
        part = BytesIO(answer.read(size))
        if tag == _SUPPORTED_FEATURES:
            for _ in range(_unsigned(part) - 1):
                name = part.read(_unsigned(part) - 1).decode()
                _, found[name] = struct.unpack(">hh", part.read(4))
                _skip_tags(part)
    return found


def _unsigned(data: BytesIO) -> int:
    """Read an unsigned number of variable length: seven bits a byte, the lowest first."""
    number = shift = 0
    while True:
        (byte,) = data.read(1) or b"\0"
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more follow
            return number
        shift += 7


def _skip_tags(data: BytesIO) -> None:
    for _ in range(_unsigned(data)):
        _unsigned(data)
        data.read(_unsigned(data))
