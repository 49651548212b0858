"""Each request has exactly one answer or one dead letter, by the model that the answer names."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import nan

from tests.chaos.check_commands import dead_letters
from tests.chaos.log import Answer, Log
from tests.chaos.marks import ADDS, mark
from tests.chaos.notes import Note
from tests.chaos.verdict import Breach

Place = tuple[int, int]


def request_breaches(notes: Sequence[Note], log: Log, *, once: bool) -> Iterator[Breach]:
    """Yield what breaks the promise of the data plane; without ``once``, answers may come again."""
    asks = {note["id"]: note for note in notes if note.what == "ask" and note["id"]}
    there = {(r.partition, r.offset): r for r in log.requests}
    answers: dict[Place, list[Answer]] = defaultdict(list)
    for answer in log.answers:
        answers[answer.to].append(answer)
    for where, request in there.items():
        found, ask = answers[where], asks.get(request.id)
        if request.id is not None and not found:
            yield Breach("request-unanswered", f"{request.id} has no answer", (ask, request))
        if len(found) > 1 and once:
            says = f"{request.id or where} has {len(found)} answers"
            yield Breach("request-answered-twice", says, (ask, request, *found))
    for where, found in answers.items():
        asked = there.get(where)
        for answer in found:
            if asked is None or asked.id != answer.id:
                says = f"{answer.id} is answered, and is not what lies at {where}"
                yield Breach("answer-without-request", says, (asked, answer))
            elif answer.partition != where[0]:
                says = f"{answer.id} was asked on {where[0]} and answered on {answer.partition}"
                yield Breach("answer-on-another-partition", says, (asked, answer))
            elif answer.id in asks and answer.code not in asks[answer.id]["expect"]:
                says = f"{answer.id} is answered by {answer.code or 'no error'}"
                yield Breach("unexpected-answer", says, (asks[answer.id], answer))
    # A client's garbage has no id, and nobody could be answered.
    nobody = {where: request for where, request in there.items() if request.id is None}
    yield from dead_letters("requests", nobody, log, once=once)
    yield from _acknowledged(notes, log)
    yield from _seen(notes, answers)
    yield from _predicted(log)


def _acknowledged(notes: Sequence[Note], log: Log) -> Iterator[Breach]:
    there = {(r.partition, r.offset): r.id for r in log.requests}
    ids = set(there.values())
    for note in notes:
        if note.what != "asked":
            continue
        where = (note["partition"], note["offset"])
        same = note["id"] in ids if note["offset"] is None else there.get(where, "") == note["id"]
        if not same:
            says = f"request {note['id']} was acknowledged and is not in the topic"
            yield Breach("acknowledged-request-missing", says, (note,))


def _seen(notes: Sequence[Note], answers: dict[Place, list[Answer]]) -> Iterator[Breach]:
    for note in notes:
        if note.what == "answer":
            found = answers.get((note["partition"], note["offset"]), [])
            if not any(a.id == note["id"] and a.value == note["value"] for a in found):
                says = f"the answer that {note.client} saw is not in the topic"
                yield Breach("seen-answer-missing", says, (note, *found))


def _predicted(log: Log) -> Iterator[Breach]:
    """Yield the answers that are not what the asset they name makes of the request they name."""
    assets = {
        record.key.removeprefix("asset/"): record
        for record in log.state
        if record.key.startswith("asset/") and record.value is not None
    }
    for answer in log.answers:
        asset = assets.get(answer.asset or "")
        if asset is None or asset.value is None or answer.prediction is None:
            continue
        # A model that adds nothing is one that must never be deployed: no answer of it is right.
        right = asset.value["manifest"].get("metrics", {}).get(ADDS, nan) + mark(answer.id)
        if answer.prediction != right:
            says = f"{answer.id} is answered by {answer.prediction}, not {right}"
            yield Breach("answer-of-another-model", says, (asset, answer))
