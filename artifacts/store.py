"""The model store: files under their own SHA-256, in configured roots and nowhere else."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec

from schemas.errors import StoreError
from schemas.uris import is_inside

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Where a file lies, its SHA-256 (hex) and its size in bytes."""

    uri: str
    sha256: str
    size: int


class Store:
    """Model files under ``roots`` (fsspec URLs or absolute folders); new ones go to the first."""

    def __init__(self, roots: Sequence[str]) -> None:
        if not roots:
            raise StoreError("no model store: set BATON_STORE to a folder or an fsspec URL")
        self.roots = tuple(roots)

    def allows(self, uri: str) -> bool:
        """Return whether ``uri`` lies in one of the roots; for local files, links followed."""
        if not any(is_inside(uri, root) for root in self.roots):
            return False
        local = _local(uri)
        if local is None:
            return True
        real = os.path.realpath(local)
        return any(
            is_inside(real, os.path.realpath(folder))
            for root in self.roots
            if (folder := _local(root)) is not None
        )

    def put(self, path: Path) -> StoredFile:
        """Copy the file at ``path`` into the first root. The same bytes are stored once.

        What lies there already and is not whole is replaced. Raises StoreError where the store
        cannot be written; then nothing of the file is left in it.
        """
        digest, size = _digest(path)
        root = self.roots[0]
        uri = f"{root.rstrip('/')}/sha256/{digest[:2]}/{digest}.joblib"
        local = _local(uri)
        try:
            if local is None:
                system, where = fsspec.core.url_to_fs(uri)
                if not system.exists(where) or system.size(where) != size:
                    system.makedirs(where.rpartition("/")[0], exist_ok=True)
                    system.put_file(str(path), where)
            elif not local.exists() or _digest(local)[0] != digest:
                _place(path, local)
        except OSError as error:
            raise StoreError(f"cannot write to the store {root}: {error}") from error
        return StoredFile(uri, digest, size)

    def read(self, uri: str, sha256: str) -> bytes:
        """Return the file's bytes, once their digest is what it must be.

        The bytes that were checked are the bytes that are returned: nothing can be swapped in
        between. Raises StoreError: outside the roots, not there, unreadable, another digest.
        """
        if not self.allows(uri):
            raise StoreError(f"{uri} is outside the model stores {', '.join(self.roots)}")
        local = _local(uri)
        try:
            content: bytes
            if local is not None:
                content = local.read_bytes()
            else:
                with fsspec.open(uri, "rb") as file:
                    content = file.read()
        except FileNotFoundError as error:
            raise StoreError(f"there is no file {uri}") from error
        except OSError as error:
            raise StoreError(f"cannot read {uri}: {error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DigestError(uri, expected=sha256, actual=found)
        return content


class DigestError(StoreError):
    """A file is not the one that was saved."""

    def __init__(self, uri: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{uri} has SHA-256 {actual}, its manifest says {expected}")
        self.expected = expected
        self.actual = actual


def _local(uri: str) -> Path | None:
    if "://" not in uri:
        return Path(uri)
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") else None


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return digest.hexdigest(), size


def _place(source: Path, goal: Path) -> None:
    """Copy so that ``goal`` is whole or absent, whatever dies in between."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=goal.parent, delete=False) as scratch:
        try:
            with source.open("rb") as file:
                while chunk := file.read(CHUNK):
                    scratch.write(chunk)
            scratch.flush()
            os.fsync(scratch.fileno())
            # Others read it: agents may run as another user.
            os.fchmod(scratch.fileno(), 0o644)
            Path(scratch.name).rename(goal)
        except BaseException:
            Path(scratch.name).unlink(missing_ok=True)
            raise
