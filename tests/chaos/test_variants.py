"""The checker can fail: each variant broken on purpose is caught, and the right code is not.

Both run the same schedule side by side; what is meant to overlap waits for it
(``variants.moment``), so no schedule depends on luck.
"""

import asyncio
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.chaos.asking import Asker
from tests.chaos.checker import check
from tests.chaos.cluster import Member
from tests.chaos.commanding import Commander
from tests.chaos.ending import drained
from tests.chaos.log import read_log
from tests.chaos.models import manifests
from tests.chaos.notes import Notebook
from tests.support import eventually, new_settings
from transport.admin import ensure_topics

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

REPLACES = 5
DRAIN_S = 60.0


class Stage:
    """Services on topics of their own, and clients that note what they do."""

    def __init__(self, settings, folder):
        self.settings, self.folder = settings, folder
        self.members = []
        self.books = [Notebook("commands"), Notebook("requests")]

    async def begin(self):
        await ensure_topics(self.settings.bootstrap_servers, self.settings.topics)
        self.commander = await Commander(self.settings, self.books[0]).__aenter__()
        self.asker = await Asker(self.settings, self.books[1]).__aenter__()

    async def end(self):
        for member in self.members:
            if member.status is None:
                member.kill()
        await self.commander.__aexit__()
        await self.asker.__aexit__()

    def start(self, *command):
        """Start a service, or a variant of it: ``worker``, or ``lags``, ``scoring``."""
        module = command if len(command) == 1 else ("tests.chaos.variants", *command)
        name = f"{command[-1]}-{len(self.members)}"
        self.members.append(Member(name, list(module), self.settings, self.folder))
        return self.members[-1]

    async def ready(self, member):
        async def serves():
            assert member.status is None, member.tail()
            return member.ready

        await eventually(serves, f"{member.name} serves")
        return member

    async def space(self, name, **how):
        return await self.commander.send("create-space", {"space_id": name, "name": name}, **how)

    async def ask(self, count=1):
        """Ask for what is not deployed: an agent that answers needs no worker."""
        return await asyncio.gather(*(self.asker.ask("", 0, "stranger") for _ in range(count)))

    async def verdict(self):
        await drained(self.settings, DRAIN_S)
        log = await read_log(self.settings, f"{self.settings.app}-scoring")
        return check([note for book in self.books for note in book.notes], log)


@asynccontextmanager
async def stage(servers, folder, partitions=1):
    folder.mkdir()
    settings = new_settings(servers, folder)
    on = Stage(replace(settings, control_partitions=partitions, data_partitions=partitions), folder)
    await on.begin()
    try:
        yield on
    finally:
        await on.end()


async def at_its_moment(member):
    async def there():
        assert member.status is None, member.tail()
        return member.reached

    await eventually(there, f"{member.name} is at its moment")


async def gone(member):
    async def dead():
        return member.status is not None

    await eventually(dead, f"{member.name} is gone")
    assert member.status == -signal.SIGKILL, member.tail()


async def overtaken(on, module, successor, work):
    """A predecessor with a batch in hand is paused, taken over, and commits when it wakes.

    The successor is held where it has done the first of fencing and reading, not the second.
    """
    first = await on.ready(on.start("commits-late-and-dies", module))
    await work()
    return await overtakes(on, first, successor, work)


async def overtakes(on, first, successor, work):
    module = "worker" if first.name.startswith("worker") else "scoring"
    first.arm()
    under_way = asyncio.create_task(work())
    await at_its_moment(first)
    first.popen.send_signal(signal.SIGSTOP)
    # The group gives its partition away.
    second = on.start(successor, module)
    second.arm()
    await at_its_moment(second)
    first.go()
    first.popen.send_signal(signal.SIGCONT)
    await gone(first)
    second.go()
    await on.ready(second)
    await under_way
    # In the order of the log behind all that it may have done again.
    await work()
    return await on.verdict()


async def side_by_side(schedule, servers, folder, broken, right):
    """Run ``schedule`` with a broken variant and with the right code; their verdicts."""

    async def one(variant):
        async with stage(servers, folder / (variant or "right"), schedule.partitions) as on:
            return await schedule(on, *([variant] if variant else []))

    return await asyncio.gather(one(broken), one(right))


async def worker_is_overtaken(on, successor):
    names = iter("abc")
    return await overtaken(on, "worker", successor, lambda: on.space(next(names)))


async def agent_is_overtaken(on, successor):
    return await overtaken(on, "scoring", successor, lambda: on.ask(3))


async def agent_is_overtaken_at_its_first_batch(on, predecessor):
    """The successor has read where the partition stands before the predecessor ever committed."""
    first = await on.ready(on.start(predecessor, "scoring"))
    return await overtakes(on, first, "waits-after-taking", lambda: on.ask(3))


async def worker_is_followed(on, *variant):
    """A successor comes after commands, one astray and one unreadable, have been worked off."""
    first = await on.ready(on.start("worker"))
    await on.space("a", astray=True)
    for partition in (0, 1):
        await on.commander.garbage(partition)
    await on.space("b")
    await drained(on.settings, DRAIN_S)
    assert first.stop() == 0
    await on.ready(on.start(*variant, "worker"))
    await on.space("c")
    return await on.verdict()


async def replaces_are_seen(on, *variant):
    """Requests are sent the moment that the event of a replace is seen."""
    await on.ready(on.start("worker"))
    send, good = on.commander.send, manifests(on.settings)["good"]
    await on.space("s")
    for asset, manifest in zip("ab", good, strict=False):
        await send("promote-asset", {"space_id": "s", "asset_id": asset, "manifest": manifest})
    deployment = await on.commander.create("s", "a")
    # Now, so that its view begins with revision 1.
    await on.ready(on.start(*variant, "scoring"))
    for turn in range(REPLACES):
        named = {"space_id": "s", "deployment_id": deployment}
        await send("replace-asset", named | {"asset_id": "ba"[turn % 2]})
        await on.asker.ask(deployment, 0)
    return await on.verdict()


async def agent_dies_with_answers_written(on, variant):
    first = await on.ready(on.start(variant, "scoring"))
    await on.ask()
    first.arm()
    under_way = asyncio.create_task(on.ask(3))
    await at_its_moment(first)
    first.kill()
    await on.ready(on.start("scoring"))
    await under_way
    await on.ask()
    return await on.verdict()


for of_one in (
    worker_is_overtaken,
    agent_is_overtaken,
    agent_is_overtaken_at_its_first_batch,
    replaces_are_seen,
    agent_dies_with_answers_written,
):
    of_one.partitions = 1
worker_is_followed.partitions = 2

LATE = "waits-after-fence"


@pytest.mark.parametrize(
    ("broken", "right", "schedule", "breaches"),
    [
        ("reads-before-fence", LATE, worker_is_overtaken, {"command-ended-twice", "sequence-gap"}),
        (
            "ignores-cursor",
            None,
            worker_is_followed,
            {"dead-letter-twice", "command-forwarded-twice"},
        ),
        ("seeks-before-fence", LATE, agent_is_overtaken, {"request-answered-twice"}),
        (
            "claims-nothing",
            "commits-late-and-dies",
            agent_is_overtaken_at_its_first_batch,
            {"request-answered-twice"},
        ),
        ("lags-without-fence", "lags", replaces_are_seen, {"stale-answer"}),
        (
            "answers-outside",
            "waits-in-transaction",
            agent_dies_with_answers_written,
            {"request-answered-twice"},
        ),
        ("keeps-its-model", None, replaces_are_seen, {"answer-of-another-model"}),
    ],
)
async def test_the_checker_catches_what_is_broken_on_purpose(
    bootstrap_servers, tmp_path, broken, right, schedule, breaches
):
    caught, clean = await side_by_side(schedule, bootstrap_servers, tmp_path, broken, right)
    print(f"\n{broken}: {caught}")
    assert clean.holds, str(clean)
    assert breaches <= caught.names, str(caught)
