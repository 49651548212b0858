"""A fence that several share: one round trip for all who ask while an earlier one is under way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from transport.futures import retrieve

T = TypeVar("T")


class Fence(Generic[T]):
    """Calls ``ask`` so that it begins after each ``wait`` that it ends, and seldom else."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        # The call under way, and the one that those who ask now will share.
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def wait(self) -> T:
        """Return what a call has found that began after this one; raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            # Told to whoever waits, and they may all have given up.
            self._next.add_done_callback(retrieve)
        return await asyncio.shield(self._next)

    async def _after(self, earlier: "asyncio.Task[T] | None") -> T:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        return await self._ask()
