"""The history checker: whether Baton kept its word, from clients' notes and the topics alone.

Pure. Each promise is a module of its own: ``check_commands``, ``check_requests``,
``check_register`` and ``check_state``.
"""

from collections import Counter
from collections.abc import Sequence

from schemas.events import FINAL
from tests.chaos.check_commands import command_breaches
from tests.chaos.check_register import register_breaches
from tests.chaos.check_requests import request_breaches
from tests.chaos.check_state import state_breaches
from tests.chaos.log import SERVING, Log
from tests.chaos.notes import Note
from tests.chaos.verdict import Verdict


def check(notes: Sequence[Note], log: Log, *, once: bool = True) -> Verdict:
    """Return the verdict over ``notes`` (of all clients, in any order) and the final ``log``.

    Without ``once`` a request may be answered again, as rightly as the first time.
    """
    history = sorted(notes, key=lambda note: note.at)
    return Verdict(
        _counts(history, log),
        (
            *command_breaches(history, log),
            *request_breaches(history, log, once=once),
            *register_breaches(history, log),
            *state_breaches(history, log),
        ),
    )


def _counts(notes: Sequence[Note], log: Log) -> dict[str, int]:
    what = Counter(note.what for note in notes)
    names = Counter(event.name for event in log.events)
    return {
        "commands": len({command.key for command in log.commands if command.id is not None}),
        "ended": sum(names[name] for name in FINAL),
        "rejected": names["command-rejected"],
        "revisions": sum(event.name in SERVING for event in log.events),
        "events": len(log.events),
        "requests": len(log.requests),
        "answers": len(log.answers),
        "repeated": len(log.answers) - len({answer.to for answer in log.answers}),
        "errors": sum(bool(answer.code) for answer in log.answers),
        "dead-letters": len(log.dead_letters),
        "refused-by-the-broker": what["not-published"] + what["not-asked"],
        "owed": max((note["owed"] or 0 for note in notes if note.what == "committed"), default=0),
        "notes": len(notes),
    }
