"""How a process that runs a stranger's code is kept from harming others."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

# Only what Python needs to run: a model must not read the secrets of whoever starts it.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Arrow holds the text of a DataFrame, its column names too; its own allocator maps a gigabyte of
# addresses at once: as much as the whole limit of a model may be.
_PLAIN_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
# A model that starts processes faster than they are killed must not hold the others up.
ROUNDS = 100
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def clean_environment() -> dict[str, str]:
    """Return an environment without secrets in which Baton's own packages are found.

    Numerical libraries get one thread: each model has a process, and processes share the cores.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    return kept | _ONE_THREAD | _PLAIN_MEMORY | {"PYTHONPATH": path}


def adopt_orphans() -> None:
    """Let what a model starts and leaves behind become a child of this process, which ends it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def confine(channel: int, memory_bytes: int) -> None:
    """Confine this process, just forked, before a stranger's code runs in it.

    It gets a process group of its own (what it starts is killed with it), ends with its parent, has
    no terminal, no descriptor but ``channel`` (which its own children do not hold open), leaves no
    core, and has ``memory_bytes`` of address space beyond what is mapped already.
    """
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    adopt_orphans()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.closerange(3, channel)
    os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
    os.register_at_fork(after_in_child=lambda: os.closerange(channel, channel + 1))
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes,) * 2)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def kill_group(pid: int) -> None:
    """Kill the process ``pid`` and what it has started in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_strays(running: set[int]) -> None:
    """Kill this process's children but those ``running``: what models that ended left behind."""
    for _ in range(ROUNDS):
        strays = _children() - running
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # What they had started comes to us in turn.
        for pid in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def end_of(status: int) -> str:
    """Say how a process ended, from its wait status."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> set[int]:
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, path.read_text().split()))
    return found
