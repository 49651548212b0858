"""Whatever lies in a topic: each record gets its answer, and the process goes on."""

import json

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import example, given

from artifacts.frames import Layout
from artifacts.host import predict
from artifacts.infer import as_frame, input_schema
from schemas.commands import COMMANDS
from schemas.topics import Topics
from scoring.cache import ModelRef
from scoring.codecs import wml
from scoring.codecs.shapes import Shapes
from scoring.codecs.tables import Served
from scoring.errors import ScoringError
from scoring.predictor import Predictor
from scoring.quarantine import Quarantine
from scoring.resolver import Endpoint
from scoring.scorer import Scorer
from tests.fuzz.targets import check_command, check_request
from tests.unit.models import fitted

# Lone surrogates too: JSON can write them, UTF-8 cannot.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for command in COMMANDS.values() for name in command.model_fields})
DATA = st.fixed_dictionaries(
    {"space_id": st.just("s") | JSON, "name": st.just("n") | JSON},
    optional={name: JSON for name in FIELDS if name not in {"space_id", "name"}},
)
TYPES = st.sampled_from([f"baton.command.{name}.v1" for name in COMMANDS]) | TEXT.filter(bool)


def as_bytes(text):
    return text.encode(errors="surrogatepass")


@st.composite
def commands(draw):
    value = json.dumps(draw(DATA)).encode() if draw(st.booleans()) else draw(st.binary())
    if draw(st.booleans()):
        attributes = {"specversion": "1.0", "id": draw(TEXT) or "i", "source": "/s"}
        attributes |= {"type": draw(TYPES), "actor": draw(TEXT)}
        if draw(st.booleans()):
            body = attributes | {"data": draw(JSON)}
            structured = [("content-type", b"application/cloudevents+json")]
            return structured, json.dumps(body).encode()
        return [(f"ce_{name}", as_bytes(text)) for name, text in attributes.items()], value
    headers = draw(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3))
    return headers, draw(st.none() | st.just(value))


@given(commands())
@example(
    (
        [("content-type", b"application/cloudevents+json")],
        b'{"specversion":"1.0","id":"\\ud800","source":"/s","type":"baton.command.x.v1"}',
    )
)
def test_every_command_becomes_an_event_or_a_dead_letter(record):
    check_command(*record)


@pytest.fixture(scope="module")
def resolver():
    return OneDeployment()


class Record:
    topic, partition, offset, key = "requests", 3, 120, b"k"

    def __init__(self, headers, value):
        self.headers, self.value = headers, value


class OneDeployment:
    """Resolves every ID to the same model: what is fuzzed is the way in and out."""

    def __init__(self):
        self.estimator, sample = fitted("binary")
        self.layout = Layout(input_schema(as_frame(sample)), as_frame=False)
        self.sha256, self.input_schema = "0" * 64, None

    async def predict(self, build):
        return predict(self.estimator, build())

    async def get(self, _):
        return self

    async def fence(self):
        pass

    async def reach(self, deployment_id, revision, timeout_s):
        pass

    def revision(self, _):
        return 4

    def resolve(self, deployment_id):
        return Endpoint(Served(deployment_id, "a", 4), ModelRef(self, "m"))


NAMES = st.sampled_from(["x0", "x1", "x2", "more"])
NUMBERS = st.floats() | st.integers() | JSON
WML = st.fixed_dictionaries(
    {"input_data": JSON | st.lists(st.fixed_dictionaries(
        {"values": JSON | st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=3)},
        optional={"fields": JSON | st.permutations(["x0", "x1", "x2"])},
    ), max_size=2)},
    optional={"id": JSON, "deployment_id": JSON, "min_revision": JSON, "deadline": JSON},
)  # fmt: skip
V2 = st.fixed_dictionaries(
    {"inputs": JSON | st.lists(st.fixed_dictionaries(
        {"name": JSON | NAMES, "shape": JSON | st.just([1, 3]), "datatype": JSON | st.just("FP64"),
         "data": JSON | st.lists(NUMBERS, min_size=3, max_size=3)},
    ), max_size=3)},
    optional={"id": JSON, "parameters": JSON},
)  # fmt: skip


@st.composite
def requests(draw):
    names = ("deployment-id", "request-id", "min-revision", "deadline", "other")
    headers = [(name, draw(st.binary(max_size=6) | st.just(b"d"))) for name in names
               if draw(st.booleans())]  # fmt: skip
    body = draw(st.binary() | (WML | V2 | JSON).map(lambda body: json.dumps(body).encode()))
    return headers, draw(st.none() | st.just(body))


SHAPED = st.fixed_dictionaries(
    {"values": JSON | st.lists(st.lists(NUMBERS | JSON, max_size=3), max_size=3)},
    optional={"more": JSON},
)


@given(
    st.lists(
        st.tuples(st.none() | st.lists(NAMES, max_size=3), SHAPED, st.sampled_from(["", " ", "]"])),
        min_size=2,
        max_size=6,
    )
)
def test_a_body_whose_beginning_is_known_is_read_as_any_other(bodies):
    known = Shapes()
    for fields, others, odd in bodies:
        entry = others if fields is None else {"fields": fields} | others
        value = json.dumps({"input_data": [entry]}, separators=(",", ":")).encode() + odd.encode()
        try:
            body = orjson.loads(value)
            (whole,) = wml.decode(body)
        except (orjson.JSONDecodeError, ScoringError):
            assert known.read(value) is None
            continue
        quick = known.read(value)
        if quick is not None:
            assert quick[:2] == whole[:2]
            kinds = {type(cell) for row in quick.rows for cell in row}
            assert not quick.numeric or not kinds & {str, bool, type(None)}
        known.learn(value, whole.fields)


@pytest.mark.parametrize(
    "value",
    [
        b'{"input_data":[{"values":[[1.0]],"fields":{"values":[[2.0]]}}]}',
        b'{"input_data":[{"fields":["\\"values\\":"],"values":[[1.0]]}]}',
        b'{"input_data":[{"x":"\\"values\\":[[1.0]]}]}","values":[[1.0]]}]}',
        b'{"input_data":[{"values":[[1.0]],"values":[[2.0]]}]}',
        b'{"id":"a","input_data":[{"values":[[1.0]]}]}',
        b'{"input_data":[{"fields":["a"],"values":[[1.0]]}],"id":"a"}',
        b'{"input_data":[{"values":[[1.0]]},{"values":[[1.0]]}]}',
        b'{"input_data":[{"deployment":{"values":[[1.0]]}}]}',
    ],
)
def test_a_beginning_is_only_known_where_values_alone_follow(value):
    known = Shapes()
    known.learn(value, None)
    known.learn(value, ("a",))
    assert known.read(value) is None


@given(st.lists(requests(), min_size=1, max_size=3))
async def test_every_request_becomes_one_answer_or_one_dead_letter(resolver, batch):
    for headers, value in batch:
        check_request(headers, value)
    scorer = Scorer(Topics(), resolver, Predictor(resolver, Quarantine()), revision_wait_s=0.0)
    scored = await scorer.score([Record(headers, value) for headers, value in batch])
    writes = scored.writes + [write for task in scored.late for write in await task]
    assert len(writes) == len(batch)
    for write in writes:
        assert write.partition == (0 if write.topic.endswith("dead-letters") else 3)
        if write.topic.endswith("responses"):
            answer = orjson.loads(write.value)
            place = answer.get("request") or answer["parameters"]["request"]
            assert place == {"partition": 3, "offset": 120}
            assert dict(write.headers)["request-id"]
