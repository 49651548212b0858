"""Whether the model stores can be read, and the first of them written."""

import uuid
from collections.abc import Iterator, Sequence

import fsspec

from client.findings import Finding, Level

ADVICE = "set BATON_STORE as for worker and agents, and give this user the right to it"


def check_stores(roots: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each root: new files go to the first, so that one is written to."""
    for number, root in enumerate(roots):
        name = f"store {root}"
        try:
            message = _tried(root, write=number == 0)
        # Each file system of fsspec raises errors of its own, and imports what may be missing.
        except Exception as error:  # noqa: BLE001 - see above
            told = f"{type(error).__name__}: {error}"
            yield Finding(name, Level.FAIL, told, ADVICE)
        else:
            yield Finding(name, Level.OK, message)


def _tried(root: str, *, write: bool) -> str:
    system, folder = fsspec.core.url_to_fs(root)
    if not system.exists(folder):
        if not write:
            raise FileNotFoundError(f"there is no {root}")
        system.makedirs(folder, exist_ok=True)
    system.ls(folder)
    if not write:
        return "readable"
    trial = f"{folder.rstrip('/')}/.doctor-{uuid.uuid4().hex}"
    system.pipe_file(trial, b"baton")
    try:
        if system.cat_file(trial) != b"baton":
            raise OSError("what was written was not read back")
    finally:
        system.rm_file(trial)
    return "readable and writable"
