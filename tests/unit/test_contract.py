"""The contract that other programs are written against is what the code says, and valid."""

import json
import re
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from contract.document import document, json_schemas
from contract.files import stale
from schemas.checks import Code
from schemas.commands import COMMANDS, command_type
from schemas.events import EventName
from schemas.records import decode_record, encode_record
from schemas.scoring import ScoringCode
from schemas.topics import Topics
from scoring.codecs import v2, wml
from scoring.codecs.request import decode
from scoring.codecs.tables import Prediction, Served
from scoring.errors import ScoringError
from scoring.replies import Replies
from tests.fuzz.targets import letter
from tests.unit.records import faults, kind_of
from tests.unit.test_decide import BAD, Lab, manifest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "contract"
OFFICIAL = json.loads((ROOT / "tests" / "vendor" / "asyncapi-3.1.0.json").read_text())
DOCUMENT = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
MESSAGES = DOCUMENT["components"]["messages"]


def test_the_files_are_what_the_code_says():
    assert stale(FOLDER) == [], "run python -m contract, and commit docs/contract"


def test_the_document_is_asyncapi_3_1():
    validator = jsonschema.Draft7Validator(OFFICIAL)
    assert [fault.message for fault in validator.iter_errors(DOCUMENT)] == []
    # The official schema is a bundle of many: it does look into the parts.
    broken = document()
    broken["channels"]["commands"]["bindings"]["kafka"]["partitions"] = "four"
    broken["operations"]["score"]["action"] = "ask"
    found = {tuple(fault.path)[:2] for fault in validator.iter_errors(broken)}
    assert found == {("channels", "commands"), ("operations", "score")}


def test_every_reference_leads_somewhere():
    def references(part):
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else [])
            for entry in part.values():
                yield from references(entry)
        elif isinstance(part, list):
            for entry in part:
                yield from references(entry)

    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        target = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_topic_command_event_record_and_code_is_in_it():
    topics = {topic.name for topic in Topics().all()}
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == topics
    assert {f"command.{name}" for name in COMMANDS} | {f"event.{name}" for name in EventName} < set(
        MESSAGES
    )
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Code"]["enum"] == [str(code) for code in Code]
    assert schemas["ScoringCode"]["enum"] == [str(code) for code in ScoringCode]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_example_fits_its_schema_and_no_other_of_its_topic(name):
    (example,) = MESSAGES[name]["examples"]
    (key,) = MESSAGES[name]["bindings"]["kafka"]["key"]["examples"]
    assert faults(name, key, example["headers"], example["payload"]) == []
    topic = next(
        channel["address"]
        for channel in DOCUMENT["channels"].values()
        if name in channel["messages"]
    )
    assert kind_of(topic, key, example["headers"], example["payload"]) == name


@pytest.mark.parametrize("name", [name for name in MESSAGES if name.startswith("command.")])
def test_a_schema_refuses_what_a_command_may_not_say(name):
    payload = json.loads(json.dumps(MESSAGES[name]["examples"][0]["payload"]))
    payload.get("data", payload)["reson"] = "a typo"
    assert faults(name, "fraud", MESSAGES[name]["examples"][0]["headers"], payload)


@pytest.mark.parametrize("kind", ["space", "asset", "deployment", "command", "cursor"])
def test_the_example_of_a_record_is_as_the_worker_writes_it(kind):
    message = MESSAGES[f"state.{kind}"]
    (key,) = message["bindings"]["kafka"]["key"]["examples"]
    payload = message["examples"][0]["payload"]
    record = decode_record(key, json.dumps(payload).encode())
    written = json.loads(encode_record(record))
    assert faults(f"state.{kind}", key, {}, written) == []
    # The worker fills in what a manifest leaves out; nothing of the example is lost.
    assert record == decode_record(key, encode_record(record))
    assert payload.keys() == written.keys()


class Recorded(Lab):
    """Keeps the records of all decisions, besides their events."""

    def __init__(self):
        super().__init__()
        self.records = []

    def take(self, decision):
        self.records += [pair for pair in decision.records if pair[1] is not None]
        return super().take(decision)


def test_every_event_and_record_of_the_rules_fits_its_schema():
    lab = Recorded()
    deployment = lab.ready()
    about = {"space_id": "s", "deployment_id": deployment}
    # A change of each kind, well and badly ended; a dry run; refusals of what is named and is not.
    lab.send("replace-asset", **about, asset_id="b", reason="accuracy", comment="better")
    lab.send("delete-asset", space_id="s", asset_id="b")
    lab.verified()
    lab.send("replace-asset", **about, asset_id="a", dry_run=True)
    lab.verified(BAD)
    lab.send("rollback-deployment", **about)
    lab.verified()
    lab.send("replace-asset", **about, asset_id="b")
    lab.verified(BAD)
    lab.send("promote-asset", space_id="s", manifest=manifest(input_schema=None))
    lab.send("replace-asset", **about, asset_id=lab.events[-1].data.asset_id)
    lab.send("replace-asset", space_id="s", deployment=deployment)
    lab.send("create-space", name="no space_id")
    lab.send("delete-deployment", **about)
    lab.send("delete-asset", space_id="s", asset_id="b")
    assert {event.name for event in lab.events} == set(EventName)
    for number, event in enumerate(lab.events, 1):
        told = event.cloudevent(partition=0, sequence=number, topic="baton.events")
        headers = {f"ce_{name}": text for name, text in told.attributes.items()}
        headers["content-type"] = "application/json"
        assert faults(f"event.{event.name}", "s", headers, told.data) == []
        # What an event says is named in its schema: nothing is told that nobody has described.
        known = MESSAGES[f"event.{event.name}"]["payload"]["properties"]
        assert set(told.data) - set(known) == set(), event.name
    for key, record in lab.records:
        kind = key.partition("/")[0]
        assert faults(f"state.{kind}", key, {}, json.loads(encode_record(record))) == []


class Record:
    topic, partition, offset, key = "baton.requests", 3, 120, b"k"

    def __init__(self, value, headers=()):
        self.value, self.headers = value, list(headers)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/fuzz/corpus/request").iterdir()), ids=lambda p: p.name
)
def test_a_request_that_the_agent_takes_fits_the_schema(path):
    headers, value = letter(path.read_bytes())
    request = decode(Record(value, headers))
    assert request.error is None
    name = "request.v2" if request.codec is v2 else "request.wml"
    texts = {name: (text or b"").decode() for name, text in headers if text}
    assert faults(name, "", texts, json.loads(value)) == []


@pytest.mark.parametrize("name", ["request.wml", "request.v2"])
def test_the_agent_takes_the_example_of_a_request(name):
    (example,) = MESSAGES[name]["examples"]
    headers = [(header, text.encode()) for header, text in example["headers"].items()]
    request = decode(Record(json.dumps(example["payload"]).encode(), headers))
    assert request.error is None
    assert request.tables[0].rows == [[1.2, 30], [870.0, None]]


@pytest.mark.parametrize(
    ("codec", "prediction"),
    [
        (wml, Prediction([1, 0], [[0.2, 0.8], [0.7, 0.3]])),
        (wml, Prediction([1.5, 0.5], None)),
        (v2, Prediction(["a", "b"], [[0.2, 0.8], [0.7, 0.3]])),
        (v2, Prediction([True, False], None)),
    ],
)
def test_an_answer_of_the_agent_fits_its_schema(codec, prediction):
    served = Served("d", "a", 4)
    value = codec.encode(served, "r", [prediction], (3, 120))
    headers = {name: text.decode() for name, text in (("request-id", b"r"), *served.headers)}
    name = "response.v2" if codec is v2 else "response.wml"
    assert faults(name, "", headers, json.loads(value)) == []
    assert kind_of("baton.responses", "", headers, json.loads(value)) == name


@pytest.mark.parametrize("served", [None, Served("d", "a", 4)])
def test_a_refusal_of_the_agent_fits_its_schema(served):
    request = decode(Record(b"{}", [("request-id", b"r")]))
    error = ScoringError(ScoringCode.SCHEMA_MISMATCH, "no field x", "x") if served else None
    write = Replies(Topics()).refuse(request, error, served)
    headers = {name: text.decode() for name, text in write.headers}
    assert faults("response.error", "", headers, json.loads(write.value)) == []


# --- the documents


@cache
def told():
    """The JSON blocks of docs/messages.md, each with the schema that was last linked before it."""
    text = (ROOT / "docs" / "messages.md").read_text()
    found, schema = [], None
    for link, block in re.findall(
        r"\]\(contract/schemas/(\S+?)\.json\)|^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        if block:
            found.append((schema, block))
        schema = link or None
    return found


def test_every_json_block_of_the_messages_document_names_its_schema():
    assert len(told()) > 0
    assert all(name in MESSAGES for name, _ in told())


@pytest.mark.parametrize(("name", "block"), told())
def test_the_json_of_the_messages_document_fits_its_schema(name, block):
    validator = jsonschema.Draft202012Validator(json_schemas()[f"{name}.json"])
    assert [fault.message for fault in validator.iter_errors(json.loads(block))] == []


def test_the_page_names_every_message_and_fetches_nothing():
    page = (FOLDER / "index.html").read_text()
    assert all(f'id="{name}"' in page for name in MESSAGES)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    for target in re.findall(r'href="([^"#]+)"', page):
        assert (FOLDER / target).exists(), target


def test_the_types_of_commands_are_the_code_s():
    for name, model in COMMANDS.items():
        payload = MESSAGES[f"command.{name}"]["examples"][0]["payload"]
        kind = command_type(model.model_validate(payload))
        headers = MESSAGES[f"command.{name}"]["headers"]["properties"]
        assert headers["ce_type"]["const"] == kind
