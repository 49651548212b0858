"""What can be wrong with an installation, found by asking each part of it."""

import asyncio
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from client.findings import Finding, Level
from client.probe import WAIT_S, probe
from client.state import StateReader
from client.storecheck import check_stores
from schemas.errors import BatonError, TopicError
from schemas.records import CursorRecord
from schemas.topics import Topic
from transport.admin import check_config, configs_of, wait_for_broker
from transport.broker_version import broker_version
from transport.connecting import admin_at
from transport.consumer import Consumer
from transport.reading import new_consumer, partitions_of, read
from transport.settings import Settings
from transport.state_view import StateView
from transport.topic_ids import describe

BROKER_TIMEOUT_S = 5.0
HEARD_S = 1.0
# What waits this long and does not become less is stuck.
LAG_WAIT_S = 3.0
# So many commands are counted and no more.
COUNTED = 1000
# Baton's own transactions last 10 s at most (transport.transactions).
OPEN = timedelta(minutes=1)
OPEN_WAIT_S = 10.0
HANGING = "end it with kafka-transactions.sh: docs/reliability.md, a transaction that stays open"
SKEW_WARN_S = 1.0
SKEW_FAIL_S = 30.0


Findings = Iterable[Finding]


async def diagnose(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found, each as soon as it is known; ends early where no broker answers."""
    yield Finding("python", Level.OK, f"Python {platform.python_version()}, {_framework()}")
    for finding in check_stores(settings.store):
        yield finding
    try:
        await wait_for_broker(settings.bootstrap_servers, BROKER_TIMEOUT_S)
        release = await broker_version(settings.bootstrap_servers)
    except (TimeoutError, OSError, ValueError) as error:
        message = str(error) or f"no answer from {settings.bootstrap_servers}"
        yield Finding("broker", Level.FAIL, message, "start it, or set BATON_BOOTSTRAP_SERVERS")
        return
    named = f"Apache Kafka {release}" if release else "a Kafka that does not say its release"
    yield Finding("broker", Level.OK, f"{named} at {settings.bootstrap_servers}")
    async with admin_at(settings.bootstrap_servers) as admin:
        missing = False
        for finding in await _looked(_topics, admin, settings):
            missing = missing or finding.level is Level.FAIL
            yield finding
        if missing:
            return
        for look in (_copies, _transactions, _members, _probe, _lags, _assets, _dead_letters):
            for finding in await _looked(look, admin, settings):
                yield finding


Look = Callable[[AIOKafkaAdminClient, Settings], Awaitable[Findings]]


async def _looked(look: Look, admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    """Return what ``look`` finds: that one cannot be asked is a finding, and the rest goes on."""
    name = look.__name__.strip("_").replace("_", " ")
    try:
        return await look(admin, settings)
    except (KafkaError, BatonError, OSError, TimeoutError) as error:
        message = f"cannot be asked: {type(error).__name__}: {error}"
        return [Finding(name, Level.FAIL, message, "is the broker well? see its log")]


def _framework() -> str:
    return f"scikit-learn {version('scikit-learn')}"


async def _topics(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    topics = settings.topics.all()
    present = await describe(admin, [topic.name for topic in topics])
    if len(present) < len(topics):
        # Of several brokers, the one that was asked may not have heard of a new topic yet.
        await asyncio.sleep(HEARD_S)
        present = await describe(admin, [topic.name for topic in topics])
    if not present:
        advice = "start a worker: it creates them (or is BATON_TOPIC_PREFIX another?)"
        return [Finding("topics", Level.FAIL, f"none of {settings.topic_prefix}…", advice)]
    found = []
    configs = await configs_of(admin, list(present))
    for topic in topics:
        name = f"topic {topic.name}"
        there = present.get(topic.name)
        if there is None:
            advice = "it was deleted: docs/reliability.md tells how to recover"
            found.append(Finding(name, Level.FAIL, "is missing", advice))
        elif there.partitions != topic.partitions:
            message = f"has {there.partitions} partitions, the settings say {topic.partitions}"
            advice = "set BATON_CONTROL_PARTITIONS / BATON_DATA_PARTITIONS to what is there"
            found.append(Finding(name, Level.FAIL, message, advice))
        else:
            found.append(_policy(topic, configs[topic.name]))
    return found


def _policy(topic: Topic, config: Mapping[str, str]) -> Finding:
    try:
        check_config(topic, config)
    except TopicError as error:
        told, _, advice = str(error).partition(": ")
        return Finding(f"topic {topic.name}", Level.FAIL, told, advice)
    policy = dict(topic.config)["cleanup.policy"]
    message = f"partitions {topic.partitions}, cleanup {policy}"
    return Finding(f"topic {topic.name}", Level.OK, message)


async def _copies(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    """Whether a broker may be lost, and whether a deposed one can be told (transport/ends.py)."""
    there = await describe(admin, [topic.name for topic in settings.topics.all()])
    if (copies := min(topic.copies for topic in there.values())) == 1:
        message = "one of each topic: what its broker's disk loses is lost"
        return [Finding("copies", Level.OK, message)]
    configs = await configs_of(admin, list(there))
    acknowledged = {name: int(config["min.insync.replicas"]) for name, config in configs.items()}
    told = (
        f"{copies} of each topic, a write is acknowledged by {min(acknowledged.values())} of them"
    )
    if all(2 * acknowledged[name] >= topic.copies for name, topic in there.items()):
        return [Finding("copies", Level.OK, told)]
    advice = f"set min.insync.replicas to {(copies + 1) // 2}: docs/reliability.md tells why"
    return [Finding("copies", Level.WARN, told, advice)]


async def _transactions(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    """Whether a transaction keeps what lies behind it from every reader (docs/reliability.md)."""
    del admin
    where = [part for topic in settings.topics.all() for part in partitions_of(topic)]
    committed = new_consumer(settings.bootstrap_servers)
    # Left at read_uncommitted: it sees what is in open transactions, too.
    whole = Consumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    found = []
    try:
        await asyncio.gather(committed.start(), whole.start())
        # In this order: what ends meanwhile is not taken for open.
        ends = await whole.end_offsets(where)
        readable = await committed.end_offsets(where)
        for part in where:
            if readable[part] >= ends[part]:
                continue
            whole.assign([part])
            whole.seek(part, readable[part])
            first = await asyncio.wait_for(whole.getone(part), OPEN_WAIT_S)
            since = datetime.fromtimestamp(first.timestamp / 1000, UTC)
            if datetime.now(UTC) - since > OPEN:
                name = f"topic {part.topic}"
                message = (
                    f"partition {part.partition}: a transaction is open since "
                    f"{since:%Y-%m-%d %H:%M:%S} (UTC), and nobody can read what lies behind it"
                )
                found.append(Finding(name, Level.FAIL, message, HANGING))
    finally:
        await asyncio.gather(committed.stop(), whole.stop())
    return found or [Finding("transactions", Level.OK, "none is open for longer than a minute")]


def _groups(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return the consumer groups by what their members are called, with the command for one."""
    return {
        "worker": (f"{settings.app}-worker", "baton worker"),
        "scoring agent": (f"{settings.app}-scoring", "baton scoring"),
    }


async def _members(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    found = []
    for kind, (group, command) in _groups(settings).items():
        (answer,) = await admin.describe_consumer_groups([group])
        described = answer.to_object()["groups"][0]
        hosts = sorted({member["client_host"].strip("/") for member in described["members"]})
        count = len(described["members"])
        if count:
            where = f"on {', '.join(hosts)}"
            found.append(Finding(f"{kind}s", Level.OK, f"{count} in group {group} {where}"))
        else:
            advice = f"start one: {command} (or is BATON_APP another?)"
            found.append(Finding(f"{kind}s", Level.FAIL, f"none in group {group}", advice))
    return found


async def _probe(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    del admin
    result = await probe(settings)
    total = settings.data_partitions
    answered = len(result.latencies_s)
    if answered == total:
        slowest = max(result.latencies_s) * 1000
        message = f"a request on each of {total} partitions was answered, within {slowest:.0f} ms"
        scoring = Finding("scoring", Level.OK, message)
    else:
        message = f"of {total} partitions {answered} were answered within {WAIT_S:g} s"
        advice = "start an agent (baton scoring), or see what its log says"
        scoring = Finding("scoring", Level.FAIL, message, advice)
    skew = abs(result.skew_s)
    message = f"this clock is {result.skew_s:+.3f} s from the broker's (± {result.error_s:.3f} s)"
    level = Level.OK if skew - result.error_s < SKEW_WARN_S else Level.WARN
    if skew - result.error_s > SKEW_FAIL_S:
        level = Level.FAIL
    advice = "" if level is Level.OK else "let NTP set both: deadlines are taken by these clocks"
    return [scoring, Finding("clock", level, message, advice)]


async def _lags(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    topics = settings.topics
    group = f"{settings.app}-scoring"
    consumer = new_consumer(settings.bootstrap_servers)
    # Faust's committed offsets are a hint only: a worker's place is the cursor in the state.
    view = StateView(settings.bootstrap_servers, topics.state, kinds=())
    try:
        await consumer.start()
        await view.start()

        async def behind() -> dict[str, int]:
            await view.catch_up()
            ends = await consumer.end_offsets(
                [*partitions_of(topics.commands), *partitions_of(topics.requests)]
            )
            committed = await admin.list_consumer_group_offsets(group)
            waiting = {"commands": 0, "requests": 0}
            for part, end in ends.items():
                if part.topic == topics.commands.name:
                    what, done = "commands", _applied(view, part)
                else:
                    offset = committed[part].offset if part in committed else 0
                    what, done = "requests", max(offset - 1, -1)
                if end > done + 1:
                    waiting[what] += await _count(settings, part, done)
            return waiting

        first = await behind()
        later = first
        if any(first.values()):
            await asyncio.sleep(LAG_WAIT_S)
            later = await behind()
    finally:
        await view.stop()
        await consumer.stop()
    return [
        _lag("commands", "worker", first["commands"], later["commands"]),
        _lag("requests", "scoring agent", first["requests"], later["requests"]),
    ]


def _applied(view: StateView, part: TopicPartition) -> int:
    cursor = view.cursors.get(part.partition)
    return -1 if cursor is None else CursorRecord.model_validate_json(cursor).offset


async def _count(settings: Settings, part: TopicPartition, after: int) -> int:
    """Count what lies behind the offset ``after``: the marks of transactions take offsets too."""
    count = 0
    async with aclosing(read(settings.bootstrap_servers, [part], after=after)) as records:
        async for _ in records:
            count += 1
            if count == COUNTED:
                break
    return count


def _lag(what: str, who: str, first: int, later: int) -> Finding:
    if later == 0:
        return Finding(f"lag of {what}", Level.OK, "none wait")
    message = f"{_told(later)} wait, {_told(first)} did {LAG_WAIT_S:g} s ago"
    advice = f"start another {who}, or see what its log says"
    return Finding(f"lag of {what}", Level.WARN, message, advice)


def _told(count: int) -> str:
    return str(count) if count < COUNTED else f"{count} or more"


async def _assets(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    del admin
    reader = StateReader(settings)
    try:
        records = await reader.deployments()
    finally:
        await reader.close_view()
    here = version("scikit-learn")
    others = {
        r.asset.asset_id: r.asset.manifest.framework.version
        for r in records
        if r.asset is not None and _minor(r.asset.manifest.framework.version) != _minor(here)
    }
    if not others:
        message = f"the assets of all deployments ({len(records)}) fit {_framework()}"
        return [Finding("versions", Level.OK, message)]
    listed = ", ".join(f"{asset} ({found})" for asset, found in sorted(others.items()))
    advice = f"run worker and agents with that version, or train again with {here}"
    message = f"assets that another scikit-learn than {here} saved: {listed}"
    return [Finding("versions", Level.WARN, message, advice)]


def _minor(text: str) -> list[str]:
    return text.split(".")[:2]


async def _dead_letters(admin: AIOKafkaAdminClient, settings: Settings) -> Findings:
    del admin
    where = partitions_of(settings.topics.dead_letters)
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        begin = await consumer.beginning_offsets(where)
        end = await consumer.end_offsets(where)
    finally:
        await consumer.stop()
    if all(begin[part] == end[part] for part in where):
        return [Finding("dead letters", Level.OK, "none")]
    # Offsets count transactions' marks, too: how many there are is not said.
    return [Finding("dead letters", Level.WARN, "there are some", "see baton dead-letters list")]
