"""What is fuzzed: a function for each decoder, bytes in, an exception only where a promise breaks.

Each is used three ways: by atheris (``make fuzz``), over the kept corpus (tests/unit/test_corpus)
and by hypothesis. The record targets read their bytes like a letter, so that the corpus is legible:
lines of ``header: value``, an empty line, the record's value; no empty line: a value alone; nothing
at all: a tombstone.
"""

import json
import os.path
import posixpath
import re
from collections import namedtuple
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import orjson
from pydantic import ValidationError

import worker.batch
from artifacts.frames import FieldError, Layout
from artifacts.store import _local
from client.audit import read_event
from schemas.checks import Check
from schemas.cloudevents import CloudEvent, decode, encode
from schemas.errors import UndecodableError
from schemas.manifest import FieldType, InputSchema, Manifest, SchemaField
from schemas.records import CursorRecord, decode_record, encode_record
from schemas.topics import LARGE_BYTES, Topics, dead_letter_headers
from schemas.uris import is_inside
from scoring.codecs.request import decode as decode_request
from scoring.codecs.tables import Prediction, Served
from worker.batch import Batch
from worker.inbox import CommandMessage
from worker.lifecycle.command import InvalidCommandError, parse_command
from worker.lifecycle.outcome import conclude
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View

NOW_MS = 1_800_000_000_000
SPACE = "s"
ROOT = "/s"
TOPICS = Topics(control=1)
RULES = Rules({"scikit-learn": "1.9.1"}, roots=(ROOT,))


def letter(data):
    """Read ``data`` as a record: its headers and its value."""
    head, gap, body = data.partition(b"\n\n")
    if not gap:
        return [], data or None
    headers = []
    for line in head.split(b"\n"):
        name, colon, value = line.partition(b": ")
        headers.append((name.decode(errors="replace"), value if colon else None))
    return headers, body


def write_letter(headers, value):
    """Return the bytes that ``letter`` reads so."""
    lines = b"\n".join(name.encode() + b": " + text for name, text in headers)
    return lines + b"\n\n" + value


# --- commands


def cloudevent(data):
    """Decode an event and write it again; parse it as a command."""
    try:
        event = decode(*letter(data))
    except UndecodableError as error:
        str(error).encode()
        return
    # Attribute names are lower case on the wire: after one round nothing changes any more.
    once = decode(*encode(event))
    assert once.data == event.data
    assert decode(*encode(once)) == once
    try:
        command = parse_command(event)
    except InvalidCommandError as error:
        assert len(Check.model_validate_json(error.checks[0].model_dump_json()).name) > 0
    else:
        assert type(command.data).model_validate_json(command.data.model_dump_json()) is not None


def check_command(headers, value):
    """Handle a record of the commands topic as the partition's owner does.

    It becomes one event or one dead letter, or goes to its home partition; what it writes can be
    written, and read again by the next owner and by those who read the audit log.
    """
    batch = Batch(TOPICS, RULES, 0, _state(), 0)
    message = CommandMessage(0, 7, NOW_MS, b"k", value, headers)
    # Whatever comes was foreseen: the last resort is for errors in the rules.
    with mock.patch.object(worker.batch.log, "exception", side_effect=AssertionError):
        batch.add(message)
    writes = [*batch.writes(CursorRecord(offset=7, sequence=batch.sequence))]
    assert len([write for write in writes if not write.topic.endswith("state")]) == 1
    for write in writes:
        size = sum(len(name.encode()) + len(text or b"") for name, text in write.headers)
        assert size + len(write.value or b"") < LARGE_BYTES
        if write.topic.endswith("events"):
            record = SimpleNamespace(
                headers=list(write.headers), value=write.value, partition=0, offset=1
            )
            assert read_event(record).sequence == 1
        if write.topic.endswith("dead-letters"):
            assert write.value == (value or b"")
            names = [name for name, _ in write.headers]
            assert names[-5:] == [name for name, _ in _DEAD]
        if write.topic.endswith("commands"):
            assert write.value == value
        if write.topic.endswith("state") and write.value is not None:
            key = write.key.decode()
            assert encode_record(decode_record(key, write.value)) == write.value


def command(data):
    """Handle a record of the commands topic."""
    check_command(*letter(data))


_DEAD = dead_letter_headers(topic="t", partition=0, offset=0, at="", reason="")


@cache
def _state():
    """A partition whose space has two assets and a deployment of the first."""
    view = View()
    for headers, value in prelude():
        batch = Batch(TOPICS, RULES, 0, view, 0)
        batch.add(CommandMessage(0, 1, NOW_MS, b"k", value, headers))
        for work in batch.work:
            passed = (Check(name="load", passed=True),)
            batch.take(conclude(batch.view, work, passed, NOW_MS))
        batch.view.merge()
    assert view.users("a")
    return view


def manifest_of(name):
    """Return a manifest as JSON values."""
    return {
        "name": name,
        "uri": f"{ROOT}/{name}.joblib",
        "sha256": "0" * 64,
        "framework": {"name": "scikit-learn", "version": "1.9.1"},
        "input_schema": {"fields": [{"name": "x", "type": "double"}]},
        "output_schema": {"task": "classification", "classes": [0, 1]},
        "metrics": {"auc": 0.97},
        "sample": {"fields": ["x"], "values": [[1.5], [None]]},
    }


def command_letter(name, body, number=1):
    """Return the headers and the value of a command."""
    attributes = {
        "specversion": "1.0",
        "id": f"c{number}",
        "source": "/s",
        "type": f"baton.command.{name}.v1",
        "actor": "ana",
    }
    headers, value = encode(CloudEvent(attributes, {"space_id": SPACE, **body}))
    return headers, value


def prelude():
    """Yield the commands that make the state which the fuzzed ones meet."""
    yield command_letter("create-space", {"name": "n"}, 101)
    for number, asset in enumerate("ab"):
        body = {"asset_id": asset, "manifest": manifest_of(asset)}
        yield command_letter("promote-asset", body, 102 + number)
    yield command_letter("create-deployment", {"asset_id": "a", "name": "d"}, 104)


# --- requests

Row = namedtuple("Row", "topic partition offset key value headers")  # noqa: PYI024 - as a record
_DOUBLES = Layout(
    InputSchema(fields=tuple(SchemaField(name=f"x{i}", type="double") for i in range(3))),
    as_frame=False,
)
_EVERY_TYPE = Layout(
    InputSchema(
        fields=tuple(
            SchemaField(name=f"{kind}{nullable:d}", type=kind, nullable=nullable)
            for kind in FieldType
            for nullable in (False, True)
        )
    ),
    as_frame=True,
)
LAYOUTS = (_DOUBLES, _EVERY_TYPE)


def check_request(headers, value):
    """Decode a request, build its matrix and encode its answer.

    Whatever it is, it has an id, and either an error that JSON can say or rows that fit.
    """
    try:
        request = decode_request(Row("requests", 3, 120, b"k", value, headers))
    except UndecodableError as error:
        str(error).encode()
        return
    assert 0 < len(request.request_id.encode()) <= 4 * 1024
    if request.error is not None:
        fault = request.error
        orjson.dumps([fault.reason, fault.message, fault.field, request.deployment_id])
        assert len(fault.message) < 100_000
        return
    assert request.deployment_id is not None
    assert request.tables
    assert request.min_revision is None or request.min_revision >= 0
    counts = [len(table.rows) for table in request.tables]
    assert all(counts)
    for layout in LAYOUTS:
        try:
            tables = [(layout.plan(table.fields), table.rows) for table in request.tables]
            matrix = layout.build(tables)
        except FieldError as error:
            orjson.dumps([error.message, error.field])
            continue
        assert matrix.shape == (sum(counts), len(layout.schema.fields))
        assert layout is _EVERY_TYPE or not np.isnan(matrix).any()
    results = [Prediction([0] * count, [[0.5, 0.5]] * count) for count in counts]
    served = Served(request.deployment_id, "a", 4)
    body = request.codec.encode(served, request.request_id, results, (3, 1))
    assert orjson.loads(body)["id"] == request.request_id


def request(data):
    """Decode a scoring request."""
    check_request(*letter(data))


# --- state, audit log, manifests, addresses


def record(data):
    """Decode a state record: its key, a line feed, its value."""
    key, _, value = data.partition(b"\n")
    name = key.decode(errors="replace")
    try:
        found = decode_record(name, value)
    except (ValidationError, KeyError):
        return
    assert decode_record(name, encode_record(found)) == found


def event(data):
    """Read an event of the audit log."""
    headers, value = letter(data)
    try:
        found = read_event(SimpleNamespace(headers=headers, value=value, partition=0, offset=1))
    except UndecodableError as error:
        str(error).encode()
        return
    assert found.sequence >= 0
    json.dumps(found.as_json(), ensure_ascii=False).encode()


def manifest(data):
    """Read a manifest, as from its file and as from a command."""
    try:
        found = Manifest.model_validate_json(data)
    except ValidationError:
        return
    assert Manifest.model_validate_json(found.model_dump_json()) == found
    assert Manifest.model_validate(found.model_dump(mode="json")) == found


def uri(data):
    """Decide containment: the address, a line feed, the root. Inside means inside when opened."""
    there, _, root = data.decode(errors="replace").partition("\n")
    if not is_inside(there, root):
        return
    path, folder = _local(there), _local(root)
    assert (path is None) == (folder is None)
    if path is not None and folder is not None:
        # Two leading slashes are one to Linux, not to normpath.
        opened, base = (re.sub("^//", "/", posixpath.normpath(each)) for each in (path, folder))
        assert os.path.commonpath([opened, base]) == base
        assert opened != base


def dead_letter(data):
    """Write a dead letter's headers: whatever the reason quotes, they are text."""
    reason = data.decode(errors="replace")
    headers = dead_letter_headers(topic="t", partition=1, offset=2, at="now", reason=reason)
    assert [text.decode() for _, text in headers][:4] == ["t", "1", "2", "now"]
    assert len(headers[-1][1]) <= 3 * len(data)


TARGETS = {
    target.__name__.replace("_", "-"): target
    for target in (cloudevent, command, request, record, event, manifest, uri, dead_letter)
}
