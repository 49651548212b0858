"""Whether a process lives, and whether it serves."""

import asyncio
import threading
from enum import StrEnum
from pathlib import Path

# An event loop that has not turned for so long hangs: the longest step known is a fetch of the
# state table, well below a second.
STALLED_S = 5.0


class Stage(StrEnum):
    """What a process is at."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Health:
    """Told by a service, asked by others, from whatever thread. ``ready_file`` appears once ready.

    Ready is a service whose partitions are assigned and whose view of the state has caught up;
    from the signal to stop on it is not.
    """

    def __init__(self, ready_file: Path | None = None) -> None:
        self.stage = Stage.STARTING
        self._ready_file = ready_file
        self._loop: asyncio.AbstractEventLoop | None = None
        if ready_file is not None:
            # A predecessor's, in the same container.
            ready_file.unlink(missing_ok=True)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the process count as alive only while ``loop`` turns."""
        self._loop = loop

    def ready(self) -> None:
        """Say that the service serves."""
        if self.stage is Stage.STARTING:
            self.stage = Stage.READY
        if self._ready_file is not None:
            self._ready_file.touch()

    def stopping(self) -> None:
        """Say that the service ends after its running batch."""
        self.stage = Stage.STOPPING

    def alive(self, timeout_s: float = STALLED_S) -> bool:
        """Return whether the event loop turns within ``timeout_s``; not to be asked from it."""
        if self._loop is None:
            return True
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return False  # closed: the process is past its end
        return turned.wait(timeout_s)
