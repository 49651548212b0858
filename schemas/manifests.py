"""Deployments' records, whose manifests are nearly all of them: the same one is kept and read once.

A record is our own JSON (schemas.records.encode_record), so its members come in a known order, and
what stands around the serving asset's manifest is found without reading it.
"""

from typing import Any, NamedTuple

import orjson

from schemas.manifest import Manifest
from schemas.records import DeploymentRecord, Record, decode_record

# With its quotes it can only be a member's name: a quote within a string is escaped.
_BEGIN = b'"asset":{"asset_id":'
_MANIFEST = b'"manifest":'
_END = b'},"pending":'
_PREFIX = "deployment/"
# Beyond it all are forgotten: whoever holds one keeps it, and the next alike is a new object.
MAX_SHARED = 4096


class Pieces(NamedTuple):
    """A record's value, cut: ``manifest`` is shared with other records."""

    head: bytes
    manifest: bytes
    tail: bytes

    def whole(self) -> bytes:
        """Return the value."""
        return b"".join(self)

    def rest(self) -> dict[str, Any]:
        """Return what the value says but for the manifest, which is None."""
        found: dict[str, Any] = orjson.loads(self.head + b"null" + self.tail)
        return found


def cut(value: bytes) -> Pieces | None:
    """Return a deployment's record in pieces; None where it has no asset, or is not as written."""
    begin = value.find(_MANIFEST, value.find(_BEGIN)) + len(_MANIFEST)
    end = value.find(_END, begin)
    if begin < len(_MANIFEST) + len(_BEGIN) or end < 0:
        return None
    return Pieces(value[:begin], value[begin:end], value[end:])


class Manifests:
    """The manifests of many records: each once, as bytes and as what they say."""

    def __init__(self) -> None:
        self._bytes: dict[bytes, bytes] = {}
        self._read: dict[bytes, Manifest] = {}

    def shared(self, key: str, value: bytes) -> bytes | Pieces:
        """Return the value of the record under ``key`` as it takes least memory."""
        pieces = _cut_under(key, value)
        if pieces is None:
            return value
        if len(self._bytes) >= MAX_SHARED:
            self._bytes.clear()
        return pieces._replace(manifest=self._bytes.setdefault(pieces.manifest, pieces.manifest))

    def decode(self, key: str, value: bytes | Pieces) -> Record:
        """Read a record as decode_record does; records of one manifest share the object."""
        if isinstance(value, bytes):
            pieces = _cut_under(key, value)
            if pieces is None:
                return decode_record(key, value)
        else:
            pieces = value
        manifest = self._read.get(pieces.manifest)
        if manifest is None:
            manifest = Manifest.model_validate_json(pieces.manifest)
            if len(self._read) >= MAX_SHARED:
                self._read.clear()
            self._read[pieces.manifest] = manifest
        rest = pieces.rest()
        rest["asset"]["manifest"] = manifest
        return DeploymentRecord.model_validate(rest)


def _cut_under(key: str, value: bytes) -> Pieces | None:
    return cut(value) if key.startswith(_PREFIX) else None
