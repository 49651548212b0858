"""Environments of their own for peers whose packages are not Baton's: made once, from a lock.

A lock is resolved from what stands in its ``.in``: ``uv pip compile --universal --generate-hashes
--no-emit-index-url --no-header -o confluent.lock confluent.in``.
"""

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
# Beside Baton's own environment, and as little part of the repository.
FOLDER = HERE.parents[1] / ".bench"

Progress = Callable[[str], None]


def python(peer: str) -> Path:
    """Return the interpreter of ``peer``'s environment, which ``make`` makes."""
    return FOLDER / peer / "bin" / "python"


def make(peer: str, progress: Progress) -> None:
    """Make ``peer``'s environment from its lock, unless it was made from this very lock.

    Raises RuntimeError with what pip said where that fails.
    """
    lock = HERE / f"{peer}.lock"
    made_from = FOLDER / peer / "lock.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() + f" {sys.version}"
    if made_from.exists() and made_from.read_text() == digest:
        return
    progress(f"making {peer}'s environment from {lock.name} (up to a minute, once)")
    venv.create(FOLDER / peer, clear=True, with_pip=True)
    pip = [str(python(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(lock)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise RuntimeError(f"cannot make {peer}'s environment from {lock}: {last}")
    made_from.write_text(digest)


def versions(peer: str, *packages: str) -> dict[str, str]:
    """Return the versions of ``packages`` in ``peer``'s environment, as its lock pins them."""
    ask = (
        "import sys; from importlib.metadata import version; "
        "print(*map(version, sys.argv[1:]), sep='\\n')"
    )
    done = subprocess.run(
        [str(python(peer)), "-c", ask, *packages], capture_output=True, text=True, check=True
    )
    return dict(zip(packages, done.stdout.split(), strict=True))
