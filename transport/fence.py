"""A fence that several share: one round trip for all who ask while an earlier one is under way."""

import asyncio
from collections.abc import Awaitable, Callable

from transport.futures import retrieve


class Fence:
    """Calls ``catch_up`` so that it begins after each ``wait`` that it ends, and seldom else."""

    def __init__(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        self._catch_up = catch_up
        # The call under way, and the one that those who ask now will share.
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return once a call is over that began after this one; raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            # Told to whoever waits, and they may all have given up.
            self._next.add_done_callback(retrieve)
        await asyncio.shield(self._next)

    async def _after(self, earlier: "asyncio.Task[None] | None") -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        await self._catch_up()
