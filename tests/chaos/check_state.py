"""The state table is what the events say, and cursors and offsets never go back."""

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.events import FINAL
from schemas.ids import command_key
from tests.chaos.log import SERVING, Event, Log, StateRecord, by_partition
from tests.chaos.notes import Note
from tests.chaos.verdict import Breach

ENDED = {"update-failed": "failed"}


def state_breaches(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    """Yield where state, events and offsets disagree."""
    yield from _folded(log)
    yield from _cursors(log)
    yield from _offsets(notes, log)


def folded(events: Sequence[Event]) -> dict[str, tuple[dict[str, Any], Event]]:
    """Return what the state must hold under each key after ``events``, and the last event of it."""
    table: dict[str, tuple[dict[str, Any], Event]] = {}
    for event in events:
        data, name = event.data, event.name
        if name == "space-created":
            table[f"space/{data['space_id']}"] = {"name": data["name"]}, event
        elif name == "asset-promoted":
            table[f"asset/{data['asset_id']}"] = {"deleted": False}, event
        elif name == "asset-deleted":
            table[f"asset/{data['asset_id']}"] = {"deleted": True}, event
        elif name not in {"command-rejected", "update-checked"}:
            table[f"deployment/{data['deployment_id']}"] = _deployment(event), event
        if name in FINAL:
            outcome = data["code"] if name == "command-rejected" else ENDED.get(name, "done")
            if name == "update-checked" and not data["passed"]:
                outcome = "failed"
            key = f"command/{command_key(event.source, event.id)}"
            table[key] = {"outcome": outcome}, event
    return table


def _deployment(event: Event) -> dict[str, Any]:
    data = event.data
    known = {"status": data["status"], "revision": data["revision"]}
    if event.name == "deployment-deleted":
        return known | {"asset": None, "pending": None}
    serving = data["after"] if event.name in SERVING else data.get("before")
    asset = None if serving is None else serving["asset_id"]
    pending = data["after"]["asset_id"] if event.name == "update-started" else None
    return known | {"asset": asset, "pending": pending}


def _held(record: StateRecord, expected: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a record that ``expected`` speaks of, as it does."""
    value = record.value or {}
    held = {name: value.get(name) for name in expected}
    for name, part in (("asset", value.get("asset")), ("pending", value.get("pending"))):
        if name in expected and isinstance(part, dict):
            held[name] = (
                part.get("asset", part)["asset_id"] if name == "pending" else part["asset_id"]
            )
    return held


def _folded(log: Log) -> Iterator[Breach]:
    events = by_partition(log.events)
    records = by_partition(log.state)
    for partition in sorted({*events, *records}):
        table = {r.key: r for r in records.get(partition, []) if r.key != "cursor"}
        expected = folded(events.get(partition, []))
        for key, (members, event) in expected.items():
            record = table.get(key)
            if record is None or record.value is None:
                says = f"the events speak of {key}, the state does not"
                yield Breach("state-unlike-events", says, (event,))
            elif (held := _held(record, members)) != members:
                says = f"{key} is {held} in the state and {members} in the events"
                yield Breach("state-unlike-events", says, (event, record))
        for key, record in table.items():
            if key not in expected and record.value is not None:
                says = f"the state speaks of {key}, the events do not"
                yield Breach("state-unlike-events", says, (record,))
            elif (record.value or {}).get("pending"):
                says = f"{key} still waits for a change to end"
                yield Breach("change-still-pending", says, (record,))


def _cursors(log: Log) -> Iterator[Breach]:
    commands, events = by_partition(log.commands), by_partition(log.events)
    found = by_partition(record for record in log.state if record.key == "cursor")
    for partition in sorted({*commands, *events}):
        cursors = found.get(partition, [])
        before = None
        for cursor in cursors:
            if before is not None and (
                cursor.value["offset"] < before.value["offset"]
                or cursor.value["sequence"] < before.value["sequence"]
            ):
                says = f"the cursor of partition {partition} went back"
                yield Breach("cursor-went-back", says, (before, cursor))
            before = cursor
        last = {
            "offset": commands[partition][-1].offset if partition in commands else -1,
            "sequence": events[partition][-1].sequence if partition in events else 0,
        }
        if before is None or before.value != last:
            says = f"the cursor of partition {partition} ends unlike the topics, at {last}"
            yield Breach("cursor-unlike-topics", says, (before,))


def _offsets(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    before: dict[int, Note] = {}
    for note in notes:
        if note.what == "committed":
            last = before.get(note["partition"])
            if last is not None and note["offset"] < last["offset"]:
                says = f"the committed offset of partition {note['partition']} went back"
                yield Breach("offset-went-back", says, (last, note))
            before[note["partition"]] = note
    for partition, requests in by_partition(log.requests).items():
        end, committed = requests[-1].offset + 1, log.committed.get(partition, 0)
        if committed < end:
            says = f"requests of partition {partition} end at {end}, committed are {committed}"
            yield Breach("offset-short-of-end", says, (requests[-1],))
        last = before.get(partition)
        if last is not None and committed < last["offset"]:
            says = f"the committed offset of partition {partition} went back to {committed}"
            yield Breach("offset-went-back", says, (last,))
