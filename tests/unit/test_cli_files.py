"""Files: rows in, scored rows and events out, and runs that go on where they stopped."""

import asyncio
import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest

from client.audit import AuditEvent
from client.cli.dead_letters import lines
from client.errors import ScoringError
from client.export import EventFile
from client.filescoring import REQUEST_ROWS, check_columns, score_file
from client.history import COLUMNS, Filter, parse_time
from client.rates import Rate, Rates
from client.rowfiles import RowFile
from client.scoredfile import Plan, ScoredFile, fingerprint
from schemas.errors import BatonError
from schemas.events import EventData
from schemas.manifest import InputSchema

SCHEMA = InputSchema.model_validate(
    {
        "fields": [
            {"name": "x", "type": "double"},
            {"name": "n", "type": "long", "nullable": True},
            {"name": "b", "type": "boolean", "nullable": True},
            {"name": "s", "type": "string", "nullable": True},
        ]
    }
)
CSV = """x,n,b,s,id
1.5,3,true,007,a
-2,4.0,0,,b
,NA,,nan,c
oops,1e400,maybe,"two
lines",d
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    return RowFile(path, SCHEMA)


def test_the_cells_of_a_csv_are_read_by_the_schema(source):
    assert list(source.rows()) == [
        {"x": 1.5, "n": 3, "b": True, "s": "007", "id": "a"},
        {"x": -2.0, "n": 4, "b": False, "s": None, "id": "b"},
        {"x": None, "n": None, "b": None, "s": "nan", "id": "c"},
        # What is no value stays as it is: whoever scores it says what is wrong with it.
        {"x": "oops", "n": "1e400", "b": "maybe", "s": "two\nlines", "id": "d"},
    ]
    assert source.fraction == 1.0
    assert [row["id"] for row in source.rows(skip=2)] == ["c", "d"]


def test_a_parquet_file_gives_plain_values(tmp_path):
    path = tmp_path / "rows.parquet"
    when = pd.Timestamp("2026-11-25T10:00:00")
    pd.DataFrame({"x": [1.0, math.nan], "n": [1, 2], "at": [when, None]}).to_parquet(path)
    rows = list(RowFile(path, SCHEMA).rows())
    assert rows[0] == {"x": 1.0, "n": 1, "at": "2026-11-25T10:00:00"}
    assert (rows[1]["x"], rows[1]["n"]) == (None, 2)
    assert list(RowFile(path, SCHEMA).rows(skip=1)) == rows[1:]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rows.txt.gz", "x", "should be CSV or Parquet"),
        ("rows.csv", "", "has no columns"),
        ("rows.csv", "x,x\n1,2\n", "names a column twice"),
        ("rows.csv", "x,n\n1\n", "row 1: 1 cells, 2 columns"),
        ("rows.parquet", "no parquet", "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_line(tmp_path, name, text, told):
    path = tmp_path / name
    path.write_text(text)

    def read():
        file = RowFile(path, SCHEMA)
        return file.columns(), list(file.rows())

    with pytest.raises(BatonError, match=told):
        read()


def test_columns_that_are_required_or_kept_must_be_there():
    check_columns(["x"], SCHEMA, [])
    with pytest.raises(BatonError, match="lacks columns that the deployment requires: x"):
        check_columns(["n"], SCHEMA, [])
    with pytest.raises(BatonError, match="no column id to keep"):
        check_columns(["x"], SCHEMA, ["id"])


class Client:
    """Scores like an agent: an error fails its whole request. Behind row ``last`` it is gone."""

    def __init__(self, revision=1, last=math.inf):
        self.revision, self.last = revision, last

    async def score(self, deployment_id, values, *, fields):
        del deployment_id
        await asyncio.sleep(0)
        for row in values:
            if isinstance(row[0], float) and row[0] > self.last:
                raise TimeoutError("nobody answers")
            if not isinstance(row[fields.index("x")], float):
                raise ScoringError("r", "schema_mismatch", "no number", "x")
        rows = [[int(row[0]), [0.25, 0.75]] for row in values]
        return SimpleNamespace(values=rows, asset_id="one", revision=self.revision)


ROWS = 3 * REQUEST_ROWS + 7
BAD = {5, 6, 250, ROWS}


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.csv"
    cells = ["oops" if row in BAD else str(row) for row in range(1, ROWS + 1)]
    path.write_text("x,id\n" + "".join(f"{cell},k{n}\n" for n, cell in enumerate(cells, 1)))
    return path


async def scored(client, path, goal, **options):
    plan = Plan(fingerprint(path), "d", ("id",))
    file = ScoredFile(goal, plan, **options)
    try:
        await score_file(client, RowFile(path, SCHEMA), ["x"], file)
        file.finish()
    finally:
        file.close()
    return file


async def test_every_row_is_there_once_in_order_and_bad_ones_have_their_error(many, tmp_path):
    goal = tmp_path / "out.parquet"
    file = await scored(Client(), many, goal)
    frame = pd.read_parquet(goal)
    assert (file.rows, file.errors) == (ROWS, len(BAD))
    assert frame["row"].tolist() == list(range(1, ROWS + 1))
    assert frame["id"].tolist() == [f"k{n}" for n in range(1, ROWS + 1)]
    wrong = frame[frame["row"].isin(BAD)]
    assert set(wrong["error_code"]) == {"schema_mismatch"}
    assert set(wrong["error_message"]) == {"no number (field x)"}
    right = frame[~frame["row"].isin(BAD)]
    assert (right["prediction"] == right["row"]).all()
    assert set(right["asset_id"]) == {"one"}
    assert right["error_code"].isna().all()
    assert right["probability"].iloc[0].tolist() == [0.25, 0.75]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "out.parquet"]


@pytest.mark.parametrize("last", [0, 1, REQUEST_ROWS, 2 * REQUEST_ROWS + 50])
async def test_a_run_that_died_is_gone_on_with(many, tmp_path, last):
    goal = tmp_path / "out.csv"
    with pytest.raises(TimeoutError):
        await scored(Client(1, last), many, goal)
    assert not goal.exists()
    # What a process wrote after it last saved: half a row, too.
    with (tmp_path / "out.csv.partial").open("ab") as partial:
        partial.write(b'{"row": 99999}\n{"ro')
    await scored(Client(2), many, goal)
    frame = pd.read_csv(goal)
    assert frame["row"].tolist() == list(range(1, ROWS + 1))
    assert frame["revision"].dropna().is_monotonic_increasing
    if last > REQUEST_ROWS:
        assert set(frame["revision"].dropna()) == {1, 2}


async def test_another_run_is_not_mixed_with_this_one(many, tmp_path):
    goal = tmp_path / "out.jsonl"
    with pytest.raises(TimeoutError):
        await scored(Client(1, 2 * REQUEST_ROWS), many, goal)
    many.write_text(many.read_text().replace("k7\n", "other\n"))
    with pytest.raises(BatonError, match="of another run"):
        await scored(Client(), many, goal)
    await scored(Client(), many, goal, restart=True)
    rows = [json.loads(line) for line in goal.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(1, ROWS + 1))
    assert rows[6]["id"] == "other"
    with pytest.raises(BatonError, match="exists already"):
        await scored(Client(), many, goal)


def test_two_runs_do_not_write_the_same_file(tmp_path):
    first = ScoredFile(tmp_path / "out.csv", Plan("f", "d"))
    with pytest.raises(BatonError, match="another run is writing"):
        ScoredFile(tmp_path / "out.csv", Plan("f", "d"))
    first.close()
    ScoredFile(tmp_path / "out.csv", Plan("f", "d")).close()


async def test_a_deployment_that_is_gone_ends_the_run(many, tmp_path):
    class Gone:
        async def score(self, *_, **__):
            raise ScoringError("r", "deployment_deleted", "it was deleted")

    with pytest.raises(ScoringError, match="deployment_deleted"):
        await scored(Gone(), many, tmp_path / "out.csv")


def event(**data):
    attributes = {"time": "2026-11-25T10:00:00.000Z", "sequence": "7", "causationsource": "/t"}
    known = {"command_id": "c", "command_type": "baton.command.replace-asset.v1"}
    return AuditEvent("deployment-updated", attributes, EventData(**known, **data), 2, 40)


FULL = event(
    space_id="s",
    deployment_id="d",
    actor="ana",
    revision=2,
    before={"asset_id": "one", "revision": 1},
    after={"asset_id": "two", "revision": 2},
    comment='a "quoted", comment',
    passed=True,
)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_the_log_is_exported_whole_or_not_at_all(tmp_path, kind):
    goal = tmp_path / f"log.{kind}"
    with EventFile(goal) as file:
        file.write(FULL)
        file.write(event())
    if kind == "jsonl":
        rows = [json.loads(line) for line in goal.read_text().splitlines()]
        assert rows[0] == FULL.as_json()
    else:
        frame = pd.read_csv(goal) if kind == "csv" else pd.read_parquet(goal)
        assert tuple(frame.columns) == COLUMNS
        first = frame.iloc[0]
        assert (first["before"], first["after"], first["comment"]) == (
            "one",
            "two",
            FULL.data.comment,
        )
        assert (first["sequence"], first["partition"]) == (7, 2)
        assert pd.isna(frame.iloc[1]["actor"])

    def die():
        with EventFile(tmp_path / f"half.{kind}") as file:
            file.write(FULL)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die()
    assert [path.name for path in tmp_path.iterdir()] == [goal.name]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_an_empty_log_is_a_file_too(tmp_path, kind):
    with EventFile(tmp_path / f"log.{kind}"):
        pass
    assert (tmp_path / f"log.{kind}").exists()
    with pytest.raises(BatonError, match="should end with one of"):
        EventFile(tmp_path / "log.xlsx")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-25", "2026-11-25T00:00:00.000Z"),
        ("2026-11-25T10:00", "2026-11-25T10:00:00.000Z"),
        ("2026-11-25T12:00:00.5+02:00", "2026-11-25T10:00:00.500Z"),
        ("2h", "1970-01-01T22:00:00.000Z"),
        ("90s", "1970-01-01T23:58:30.000Z"),
    ],
)
def test_a_time_may_be_written_in_many_ways(text, time):
    assert parse_time(text, now_ms=24 * 3600 * 1000) == time


@pytest.mark.parametrize("text", ["yesterday", "", "5 minutes", "h"])
def test_a_time_that_is_none_is_told_with_what_would_be_one(text):
    with pytest.raises(BatonError, match="is no time: give 2026-11-25"):
        parse_time(text)


def test_a_filter_takes_all_events_of_a_deployment_that_was_named_once():
    chosen = Filter(deployment="scoring")
    assert not chosen.takes(event(deployment_id="d"))
    assert chosen.takes(event(deployment_id="d", name="scoring"))
    assert chosen.takes(event(deployment_id="d"))
    assert not chosen.takes(event(deployment_id="e"))
    # A space of that name is no deployment.
    assert not chosen.takes(event(space_id="scoring", name="scoring"))
    assert not Filter(since="2026-11-25T10:00:00.001Z").takes(FULL)
    assert not Filter(until="2026-11-25T10:00:00.000Z").takes(FULL)
    assert Filter("s", "d", "ana", names=frozenset({"deployment-updated"})).takes(FULL)


def test_rates_look_back_over_their_window_and_no_further():
    rates = Rates(100.0, window_s=10)
    for offset in range(100):
        rates.take_request(0, offset, at_ms=1000)
        code = "model_error" if offset < 10 else None
        rates.take_answer("d", 105.0, at_ms=1000 + offset, place=(0, offset), code=code)
    rates.take_answer("e", 105.0, at_ms=1, place=(0, 5000))
    found = rates.rates(110.0)
    assert found["d"] == Rate(10.0, 1.0, 50.0, 99.0, {"model_error": 10})
    # Of an answer whose request was not seen nothing is made up.
    assert found["e"] == Rate(0.1, 0.0, None, None, {})
    assert rates.rates(116.0) == {}


def test_a_value_is_shown_as_text_or_as_a_hexdump():
    assert list(lines('{"a":\n "é"}'.encode())) == ['{"a":', ' "é"}']
    (first, second) = lines(bytes(range(16)) + b"AB")
    assert first.startswith("00000000  00 01 02")
    assert second == f"00000010  {'41 42':47}  AB"
    assert list(lines(b"")) == []
