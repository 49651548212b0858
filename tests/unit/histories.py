"""A made-up history in which every promise is kept: clients' notes, and what the topics hold."""

from dataclasses import replace

from schemas.ids import command_key
from tests.chaos.log import DELETED, Answer, Command, DeadLetter, Event, Log, Request, StateRecord
from tests.chaos.marks import ADDS, mark
from tests.chaos.notes import Note

SOURCE = "/test"
# What became of each command of the clean history: id, name, offset, its events.
CREATE = {"deployment_id": "d", "status": "initializing", "revision": 0}
STARTED = {"deployment_id": "d", "status": "updating"}
SERVES = {"deployment_id": "d", "status": "deployed"}


def at(asset, revision):
    return {"asset_id": asset, "revision": revision}


STORY = [
    ("space", "create-space", [("space-created", {"space_id": "s", "name": "s"})]),
    ("one", "promote-asset", [("asset-promoted", {"asset_id": "one"})]),
    (
        "create",
        "create-deployment",
        [
            ("update-started", CREATE | {"after": at("one", 1)}),
            ("deployment-created", SERVES | {"revision": 1, "after": at("one", 1)}),
        ],
    ),
    ("same", "replace-asset", [("command-rejected", {"code": "same_asset"})]),
    (
        "replace",
        "replace-asset",
        [
            (
                "update-started",
                STARTED | {"revision": 1, "before": at("one", 1), "after": at("two", 2)},
            ),
            (
                "deployment-updated",
                SERVES | {"revision": 2, "before": at("one", 1), "after": at("two", 2)},
            ),
        ],
    ),
    (
        "delete",
        "delete-deployment",
        [("deployment-deleted", {"deployment_id": "d", "status": "deleted", "revision": 2})],
    ),
]
# When the clients of the clean history saw revision 1, revision 2 and the deletion.
ONE, TWO, GONE = 35, 55, 75


def clean():
    """Six commands, one stray, one unreadable; four requests, one of them unreadable."""
    log, notes = Log(), []
    for offset, (name, kind, caused) in enumerate(STORY):
        log.commands.append(Command(0, offset, SOURCE, name, kind))
        notes += published(name, 10 * offset, offset)
        for event, data in caused:
            number = len(log.events)
            log.events.append(Event(0, number, number + 1, event, SOURCE, name, data))
    for event, when in ((log.events[3], ONE), (log.events[6], TWO), (log.events[7], GONE)):
        value = DELETED if event.name == "deployment-deleted" else event.data["revision"]
        place = {"partition": 0, "sequence": event.sequence, "event": event.name}
        notes.append(Note(when, "audit", "seen", place | {"deployment": "d", "value": value}))
    # On partition 1 by mistake: its owner forwards it, and it is the last at home.
    stray = Command(1, 0, SOURCE, "stray", "replace-asset")
    log.commands += [replace(stray, partition=0, offset=6), stray, Command(1, 1)]
    notes.append(Note(61, "c", "invoke", {**ids("stray"), "partition": 1, "home": 0}))
    refused = {"code": "deployment_not_found"}
    log.events.append(Event(0, 8, 9, "command-rejected", SOURCE, "stray", refused))
    log.state = state_of(log)
    log.dead_letters = [DeadLetter(0, "commands", (1, 1)), DeadLetter(1, "requests", (0, 3))]
    for offset, (sent, value, asset) in enumerate(
        [(36, 1, "one"), (56, 2, "two"), (76, DELETED, None)]
    ):
        code = "deployment_deleted" if value == DELETED else ""
        log.requests.append(Request(0, offset, f"r{offset}"))
        said = None if asset is None else mark(f"r{offset}")
        to = (0, offset)
        log.answers.append(Answer(0, offset, f"r{offset}", to, "d", value, asset, code, said))
        notes += asked(f"r{offset}", sent, offset, value)
    log.requests.append(Request(0, 3))
    log.committed = {0: 4}
    notes += [
        Note(when, "o", "committed", {"partition": 0, "offset": o})
        for when, o in ((40, 1), (60, 3))
    ]
    return notes, log


def ids(id):
    return {"source": SOURCE, "id": id}


def published(id, when, offset):
    place = {"partition": 0, "home": 0}
    return [
        Note(when, "c", "invoke", {**ids(id), **place}),
        Note(when + 1, "c", "published", {**ids(id), "partition": 0, "offset": offset}),
    ]


def asked(id, when, offset, value):
    place = {"id": id, "partition": 0}
    seen = {"offset": offset, "deployment": "d", "value": value}
    return [
        Note(when, "r", "ask", place | {"deployment": "d", "expect": ["", "deployment_deleted"]}),
        Note(when + 1, "r", "asked", place | {"offset": offset}),
        Note(when + 2, "r", "answer", place | seen),
    ]


def state_of(log):
    names = [*(name for name, *_ in STORY), "stray"]
    command = {name: f"command/{command_key(SOURCE, name)}" for name in names}
    outcomes = {"same": "same_asset", "stray": "deployment_not_found"}
    held = [
        ("space/s", {"name": "s"}),
        ("cursor", {"offset": 0, "sequence": 1}),
        ("asset/one", {"deleted": False, "manifest": {"metrics": {ADDS: 0}}}),
        ("deployment/d", {"status": "deleted", "revision": 2, "asset": None, "pending": None}),
        *((key, {"outcome": outcomes.get(name, "done")}) for name, key in command.items()),
        ("cursor", {"offset": 6, "sequence": len(log.events)}),
    ]
    records = [StateRecord(0, number, key, value) for number, (key, value) in enumerate(held)]
    return [*records, StateRecord(1, 0, "cursor", {"offset": 1, "sequence": 0})]
