"""The event streams that are open, and how many may be."""

import contextlib
from collections.abc import Iterator

from schemas.errors import BatonError


class StreamsFullError(BatonError):
    """As many event streams are open as may be: this one was not opened."""

    code = "too_many_streams"
    # Seconds. A place is free again once somebody leaves, not at once.
    retry_after = "5"


class Streams:
    """Counts open event streams: each holds a connection, and is given every event."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.open = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place within the block. Raises StreamsFullError where none is free."""
        if self.open >= self._most:
            raise StreamsFullError(
                f"{self.open} event streams are open, as many as may be "
                "(BATON_CONSOLE_STREAMS): try again once somebody has left, or ask /api/events"
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
