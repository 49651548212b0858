"""A fence is shared, and never with somebody who asked after it had begun."""

import asyncio

import pytest
import pytest_asyncio

from transport.fence import Fence


class View:
    """Catches up when it is let; how often it began."""

    def __init__(self):
        self.begun, self.go = 0, asyncio.Event()

    async def catch_up(self):
        self.begun += 1
        await self.go.wait()
        self.go.clear()


@pytest_asyncio.fixture
async def view():
    return View()


@pytest.fixture
def fence(view):
    return Fence(view.catch_up)


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_during_a_fence_shares_the_next_one(fence, view):
    first = asyncio.create_task(fence.wait())
    await settled()
    later = [asyncio.create_task(fence.wait()) for _ in range(3)]
    await settled()
    assert view.begun == 1
    view.go.set()
    await settled()
    assert (first.done(), [task.done() for task in later]) == (True, [False] * 3)
    assert view.begun == 2
    view.go.set()
    await asyncio.gather(*later)
    assert view.begun == 2


async def test_who_gives_up_takes_the_fence_from_nobody(fence, view):
    first, second = (asyncio.create_task(fence.wait()) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    view.go.set()
    await second


async def test_a_fence_that_fails_is_told_and_the_next_begins_anew():
    outcomes = iter([TimeoutError(), None])

    async def catch_up():
        error = next(outcomes)
        if error is not None:
            raise error

    fence = Fence(catch_up)
    found = await asyncio.gather(fence.wait(), fence.wait(), return_exceptions=True)
    assert [type(error) for error in found] == [TimeoutError] * 2
    await fence.wait()
