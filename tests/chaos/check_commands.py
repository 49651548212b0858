"""No command is lost or applied twice, and each partition's are applied in their order."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from schemas.events import FINAL
from tests.chaos.log import SERVING, Command, Event, Log, by_partition
from tests.chaos.notes import Note
from tests.chaos.verdict import Breach

STARTED = "update-started"
# These end a change that was accepted first.
ENDS_A_CHANGE = SERVING | {"update-failed"}

Key = tuple[int, str, str]


def command_breaches(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    """Yield what breaks the promise of the control plane."""
    yield from _published(notes, log)
    yield from _seen(notes, log)
    yield from _ended_once(notes, log)
    yield from _forwarded_once(notes, log)
    yield from _in_order(log)
    yield from _sequences(log)
    yield from _revisions(log)
    unreadable = {(c.partition, c.offset): c for c in log.commands if c.id is None}
    yield from dead_letters("commands", unreadable, log)


def dead_letters(
    topic: str, expected: dict[tuple[int, int], Any], log: Log, *, once: bool = True
) -> Iterator[Breach]:
    """Yield what is wrong with the dead letters of ``topic``: one for each of ``expected``.

    Without ``once``, one at least.
    """
    found = defaultdict(list)
    for letter in log.dead_letters:
        if letter.topic == topic:
            found[letter.of].append(letter)
    for where, record in expected.items():
        if where not in found:
            says = f"{topic} {where} cannot be read and has no dead letter"
            yield Breach("dead-letter-missing", says, (record,))
        elif len(found[where]) > 1 and once:
            says = f"{topic} {where} has {len(found[where])} dead letters"
            yield Breach("dead-letter-twice", says, (record, *found[where]))
    for where, letters in found.items():
        if where not in expected:
            says = f"there is a dead letter of {topic} {where}, where nothing unreadable was"
            yield Breach("dead-letter-unfounded", says, tuple(letters))


def _published(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    there = {(c.partition, c.offset): c for c in log.commands}
    ids = {(c.source, c.id) for c in log.commands}
    for note in notes:
        if note.what != "published":
            continue
        # An acknowledgement sent again by the broker has no offset.
        record = there.get((note["partition"], note["offset"]))
        same = (
            (note["source"], note["id"]) in ids
            if note["offset"] is None
            else record is not None and record.id == note["id"]
        )
        if not same:
            says = f"command {note['id']} was acknowledged and is not in the topic"
            yield Breach("published-command-missing", says, (note, record))


def _seen(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    there = {(e.partition, e.sequence): e.name for e in log.events}
    ended = {(e.source, e.id): e.name for e in log.events if e.name in FINAL}
    for note in notes:
        if note.what == "seen":
            kept = there.get((note["partition"], note["sequence"])) == note["event"]
        elif note.what == "outcome":
            kept = ended.get((note["source"], note["id"])) == note["event"]
        else:
            continue
        if not kept:
            yield Breach("seen-event-missing", "an event that was seen is not in the log", (note,))


def _ended_once(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    at_home: dict[Key, list[Command]] = defaultdict(list)
    for command in log.commands:
        if command.id is not None and command.partition == command.home:
            at_home[command.key].append(command)
    events: dict[Key, list[Event]] = defaultdict(list)
    for event in log.events:
        events[event.key].append(event)
    for key, records in at_home.items():
        yield from _one_end(records, events[key])
    begun = first_invocations(notes)
    seen = {(n["partition"], n["sequence"]): n for n in reversed(notes) if n.what == "seen"}
    for key, caused in events.items():
        if key not in at_home and caused:
            says = f"{caused[0].name} is caused by {key[2]}, which nobody published"
            yield Breach("event-without-command", says, tuple(caused))
            continue
        for event in caused:
            note, invoked = seen.get((event.partition, event.sequence)), begun.get(key)
            if note is not None and invoked is not None and note.at < invoked.at:
                says = f"{event.name} was seen before its command was published"
                yield Breach("event-before-command", says, (note, invoked, event))


def _one_end(records: list[Command], events: list[Event]) -> Iterator[Breach]:
    command, shown = records[0], (*records, *events)
    final = [event for event in events if event.name in FINAL]
    started = [event for event in events if event.name == STARTED]
    if not final:
        yield Breach("command-without-outcome", f"{command.id} has no final event", shown)
    elif len(final) > 1:
        yield Breach("command-ended-twice", f"{command.id} has {len(final)} final events", shown)
    elif final[0].name in ENDS_A_CHANGE and not (
        len(started) == 1 and started[0].sequence < final[0].sequence
    ):
        says = f"{command.id} ended with {final[0].name} after {len(started)} update-started"
        yield Breach("update-not-started-once", says, shown)
    elif started and final[0].name not in ENDS_A_CHANGE:
        says = f"{command.id} started an update and ended with {final[0].name}"
        yield Breach("update-not-started-once", says, shown)


def _forwarded_once(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    """A command on a wrong partition lies at home once more than it was published there."""
    strays: dict[Key, list[Command]] = defaultdict(list)
    home: dict[Key, list[Command]] = defaultdict(list)
    for command in log.commands:
        if command.id is not None:
            where = home if command.partition == command.home else strays
            where[command.key].append(command)
    tried = Counter(
        (n["home"], n["source"], n["id"])
        for n in notes
        if n.what == "invoke" and n["partition"] == n["home"]
    )
    sure = Counter((n["partition"], n["source"], n["id"]) for n in notes if n.what == "published")
    for key, stray in strays.items():
        least, most = len(stray) + sure[key], len(stray) + tried[key]
        found = len(home[key])
        if not least <= found <= most:
            name = "command-not-forwarded" if found < least else "command-forwarded-twice"
            says = f"{key[2]} lies {found} times at home, expected {least} to {most}"
            yield Breach(name, says, (*stray, *home[key]))


def _in_order(log: Log) -> Iterator[Breach]:
    """First events come as their commands do; a dry run's comes when its verification ends."""
    place: dict[Key, Command] = {}
    late = set()
    for command in log.commands:
        if command.id is not None and command.partition == command.home:
            place.setdefault(command.key, command)
            if command.dry_run:
                late.add(command.key)
    for events in by_partition(log.events).values():
        before: tuple[Command, Event] | None = None
        met = set()
        for event in events:
            if event.key not in place or event.key in met or event.key in late:
                continue
            met.add(event.key)
            command = place[event.key]
            if before is not None and command.offset < before[0].offset:
                says = f"{command.id} came before {before[0].id} and was applied after it"
                yield Breach("commands-out-of-order", says, (command, *before, event))
            before = command, event


def _sequences(log: Log) -> Iterator[Breach]:
    for partition, events in by_partition(log.events).items():
        for number, event in enumerate(events, start=1):
            if event.sequence != number:
                says = f"partition {partition} has sequence {event.sequence}, expected {number}"
                yield Breach("sequence-gap", says, tuple(events[max(0, number - 2) : number]))
                break


def _revisions(log: Log) -> Iterator[Breach]:
    last: dict[str, Event] = {}
    for event in log.events:
        if event.name not in SERVING:
            continue
        deployment = event.data["deployment_id"]
        before = last.get(deployment)
        expected = 1 if before is None else before.data["revision"] + 1
        if event.data["revision"] != expected:
            says = f"{deployment} is at revision {event.data['revision']}, expected {expected}"
            yield Breach("revision-gap", says, tuple(e for e in (before, event) if e))
        last[deployment] = event


def first_invocations(notes: Sequence[Note]) -> dict[Key, Note]:
    """Return when each command (home partition, source, id) was first about to be published."""
    found: dict[Key, Note] = {}
    for note in notes:
        if note.what == "invoke" and note["id"] is not None:
            found.setdefault((note["home"], note["source"], note["id"]), note)
    return found
