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
_PR_SET_PDEATHSIG = 1


def clean_environment() -> dict[str, str]:
    """Return an environment without secrets in which Baton's own packages are found.

    Numerical libraries get one thread: each model has a process, and processes share the cores.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    return kept | _ONE_THREAD | {"PYTHONPATH": path}


def confine(memory_bytes: int) -> None:
    """Confine this process, just forked, before a stranger's code runs in it.

    It gets a process group of its own (what it starts is killed with it), ends with its parent, has
    no terminal, leaves no core, and no more than ``memory_bytes`` of address space beyond what is
    mapped already.
    """
    os.setsid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
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


def end_of(status: int) -> str:
    """Say how a process ended, from its wait status."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"
