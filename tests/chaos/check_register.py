"""The current asset is linearizable: no client ever sees a deployment go back.

A deployment is a register whose value only rises: its revision, and DELETED at the end. So a
history is linearizable if and only if

- an answer shows at least what anyone had seen of the deployment, in an event or in an answer,
  before its request was sent (real-time order), and
- no answer shows a value before the command that wrote it was invoked.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from tests.chaos.check_commands import first_invocations
from tests.chaos.log import DELETED, NOT_READY, SERVING, Answer, Event, Log
from tests.chaos.notes import Note
from tests.chaos.verdict import Breach


def register_breaches(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    """Yield what breaks the promise of the current asset."""
    # By what it showed, too: where answers are repeated, another may show more.
    received: dict[tuple[str, int | None], Note] = {}
    for note in notes:
        if note.what == "answer":
            received.setdefault((note["id"], note["value"]), note)
    yield from _stale(notes, log, received)
    wrote = _writes(log)
    invoked = first_invocations(notes)
    for answer in log.answers:
        if answer.value is None or answer.value <= NOT_READY or answer.deployment is None:
            continue
        event = wrote.get((answer.deployment, answer.value))
        seen = received.get((answer.id, answer.value))
        if event is None:
            says = f"{answer.id} shows {_name(answer.value)}, which no event announces"
            yield Breach("answer-from-the-future", says, (answer,))
            continue
        begun = invoked.get(event.key)
        if seen is not None and begun is not None and seen.at < begun.at:
            says = f"{answer.id} shows {_name(answer.value)} before its command was published"
            yield Breach("answer-from-the-future", says, (seen, begun, event))
        if answer.value != DELETED and answer.asset != event.data["after"]["asset_id"]:
            says = f"{answer.id} names asset {answer.asset} for {_name(answer.value)}"
            yield Breach("answer-of-another-asset", says, (event, answer))


def _writes(log: Log) -> dict[tuple[str, int], Event]:
    found = {}
    for event in log.events:
        if event.name in SERVING:
            found[event.data["deployment_id"], event.data["revision"]] = event
        elif event.name == "deployment-deleted":
            found[event.data["deployment_id"], DELETED] = event
    return found


def _stale(
    notes: Sequence[Note], log: Log, received: dict[tuple[str, int | None], Note]
) -> Iterator[Breach]:
    """Walk the times: what was shown raises the floor, what is sent notes the floor it met."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for answer in log.answers:
        answers[answer.id].append(answer)
    floor: dict[str, Note] = {}
    for note in notes:
        # (1) what a note shows counts for what is sent after it
        value = note["value"]
        if value is not None and note["deployment"] is not None:
            before = floor.get(note["deployment"])
            if before is None or before["value"] < value:
                floor[note["deployment"]] = note
        # (2) a request is sent: its answers, whenever they come, show no less
        if note.what != "ask" or note["id"] is None:
            continue
        for answer in answers[note["id"]]:
            known = floor.get(answer.deployment or "")
            if known is not None and answer.value is not None and answer.value < known["value"]:
                says = (
                    f"{answer.id} was sent {(note.at - known.at) / 1e6:.1f} ms after "
                    f"{_name(known['value'])} was seen and answered by {_name(answer.value)}"
                )
                seen = received.get((answer.id, answer.value))
                shown = chain((known, note, answer), (seen,) if seen else ())
                yield Breach("stale-answer", says, tuple(shown))


def _name(value: int) -> str:
    return "its deletion" if value == DELETED else f"revision {value}"
