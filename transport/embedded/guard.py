"""``python -m transport.embedded.guard COMMAND…``: run a command that ends with its parent.

Standard input is a pipe from the parent: at its end, however the parent died, the command gets
SIGTERM and, if that does not end it, SIGKILL. The command's pid is printed first.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

# A clean broker shutdown takes about a second.
GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command in ``sys.argv[1:]`` and return its exit status."""
    # Ctrl-C at a terminal reaches the whole foreground group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(  # noqa: S603 - the parent's own command
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
    )
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    # The broker's own output goes to its log: nothing may wait for a reader here.
    threading.Thread(target=_until_orphaned, args=(child,), daemon=True).start()
    return child.wait()


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _until_orphaned(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
        return
    child.kill()


if __name__ == "__main__":
    sys.exit(main())
