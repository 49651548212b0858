"""Model files: stored, described, loaded and verified."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from artifacts.frames import FieldError, Layout
from artifacts.hosts import Hosts, Limits
from artifacts.save import ModelError, save_model, save_model_file
from artifacts.shown import shown
from artifacts.store import Store
from artifacts.verify import Verifier
from schemas.errors import StoreError
from schemas.manifest import Framework, InputSchema, OutputSchema, SchemaField
from tests.support import DEADLINE_S, little_time
from tests.unit.models import CASES, Evil, X, Y, fitted


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store([str(tmp_path_factory.mktemp("models") / "store")])


# The verifying process imports scikit-learn once for all of them.
@pytest_asyncio.fixture(scope="module")
async def verifier(store):
    verifier = Verifier(store.roots, time_limit_s=DEADLINE_S, memory_limit_bytes=1024**3)
    yield verifier
    await verifier.stop()


@pytest_asyncio.fixture(scope="module")
async def hosts(store):
    hosts = Hosts(store, Limits(), at_once=4)
    yield hosts
    await hosts.stop()


@pytest.mark.parametrize("case", CASES)
async def test_every_kind_of_model_is_saved_loaded_and_verified(case, store, verifier, hosts):
    estimator, sample = fitted(case)
    manifest = save_model(estimator, sample, store=store, name=case)
    model = await hosts.load(manifest)
    rows = manifest.sample.values
    plan = model.layout.plan(manifest.sample.fields)
    expected = estimator.predict(sample[:5] if isinstance(sample, np.ndarray) else sample.head())
    predicted, _ = await model.predict(lambda: model.layout.build([(plan, rows)]))
    assert list(predicted) == expected.tolist()
    await model.close()
    checks = await verifier.verify(manifest)
    assert [check for check in checks if not check.passed] == []
    assert [check.name for check in checks][-2:] == ["time_limit", "memory_limit"]


def test_the_same_bytes_are_stored_once(store, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    first = store.put(path)
    assert store.put(path) == first
    assert first.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert store.read(first.uri, first.sha256) == b"abc"


def test_a_store_may_be_any_file_system(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    store = Store(["memory://models"])
    stored = store.put(path)
    assert store.read(stored.uri, stored.sha256) == b"abc"


@pytest.mark.parametrize("uri", ["/etc/passwd", "{root}/../x", "file://{root}/..%2fx", "{root}"])
def test_what_lies_outside_the_roots_is_refused(store, uri):
    with pytest.raises(StoreError, match="outside"):
        store.read(uri.format(root=store.roots[0]), "0" * 64)


def test_a_link_does_not_lead_outside(tmp_path):
    store = Store([str(tmp_path / "store")])
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to("/etc")
    with pytest.raises(StoreError, match="outside"):
        store.read(f"{store.roots[0]}/link/passwd", "0" * 64)


def test_a_missing_or_changed_file_says_so(store, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    stored = store.put(path)
    Path(stored.uri).write_bytes(b"abd")
    with pytest.raises(StoreError, match="its manifest says"):
        store.read(stored.uri, stored.sha256)
    with pytest.raises(StoreError, match="there is no file"):
        store.read(f"{stored.uri}x", stored.sha256)


def test_what_cannot_be_saved_says_why(store, tmp_path):
    with pytest.raises(ModelError, match="no rows"):
        save_model(LogisticRegression(), np.empty((0, 3)), store=store, name="m")
    with pytest.raises(ModelError, match="does not predict"):
        save_model(LogisticRegression(), X, store=store, name="m")
    with pytest.raises(ModelError, match="no predict"):
        save_model(object(), X, store=store, name="m")
    fitted = LogisticRegression().fit(X, Y)
    with pytest.raises(ModelError, match=r"metrics.auc: .*finite"):
        save_model(fitted, X, store=store, name="m", metrics={"auc": float("nan")})
    with pytest.raises(ModelError, match="column 'x0' comes twice"):
        save_model(fitted, pd.DataFrame(X, columns=["x0", "x0", "x1"]), store=store, name="m")
    (tmp_path / "x").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="cannot load"):
        save_model_file(tmp_path / "x", pd.DataFrame(X), store=store, name="m")


def broken(store, tmp_path, thing, **changes):
    good = save_model(LogisticRegression().fit(X, Y), X, store=store, name="m")
    if thing is None:
        return good.model_copy(update=changes)
    path = tmp_path / "evil.joblib"
    joblib.dump(thing, path)
    stored = store.put(path)
    return good.model_copy(update={"uri": stored.uri, "sha256": stored.sha256, **changes})


@pytest.mark.parametrize(
    ("thing", "changes", "check", "says"),
    [
        (None, {"sha256": "0" * 64}, "digest", "sha256"),
        (None, {"uri": "/etc/passwd"}, "digest", "outside"),
        ("a text", {}, "load", "str"),
        (Evil("raise SystemExit(0)"), {}, "load", "SystemExit"),
        (Evil("import os; os._exit(3)"), {}, "load", "status 3"),
        (Evil("import os; os.kill(os.getpid(), 11)"), {}, "load", "SIGSEGV"),
        (Evil("while True: pass"), {}, "time_limit", "step load"),
        (Evil("x = bytearray(8 * 1024**3)"), {}, "memory_limit", "out of memory"),
        (
            Evil("import os, time\nif os.fork() == 0: os.setsid(); time.sleep(999)\nos._exit(1)"),
            {},
            "load",
            "status 1",
        ),
        (
            None,
            {"framework": Framework(name="scikit-learn", version="1.8.0")},
            "framework_version",
            "",
        ),
        (
            None,
            {"input_schema": InputSchema(fields=(SchemaField(name="x", type="double"),))},
            "features",
            "3 features",
        ),
        (
            None,
            {"output_schema": OutputSchema(task="classification", classes=(1, 0))},
            "classes",
            "",
        ),
    ],
)
async def test_a_bad_model_fails_its_check(store, verifier, tmp_path, thing, changes, check, says):
    manifest = broken(store, tmp_path, thing, **changes)
    with little_time(verifier, 2) if check == "time_limit" else contextlib.nullcontext():
        failed = [c for c in await verifier.verify(manifest) if not c.passed]
    assert [c.name for c in failed] == [check]
    assert says in str(failed[0].actual)
    # And the next one is none the worse for it.
    good = save_model(LogisticRegression().fit(X, Y), X, store=store, name="m")
    assert all(c.passed for c in await verifier.verify(good))


async def test_a_model_sees_no_secret(store, tmp_path, verifier, monkeypatch):
    monkeypatch.setenv("BATON_SECRET", "hunter2")
    code = "import os; raise ValueError(str(sorted(os.environ)))"
    manifest = broken(store, tmp_path, Evil(code))
    (failed,) = [c for c in await verifier.verify(manifest) if not c.passed]
    assert "PATH" in failed.actual
    assert "SECRET" not in failed.actual


async def test_the_verifier_survives_the_death_of_its_process(store, verifier):
    good = save_model(LogisticRegression().fit(X, Y), X, store=store, name="m")
    await verifier.start()
    os.kill(verifier._zygote.process.pid, 9)
    assert all(check.passed for check in await verifier.verify(good))


SURROGATES = st.text(st.characters(exclude_categories=()), max_size=8)
SAID = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SURROGATES | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(SURROGATES, inner) | st.tuples(inner),
)


@given(SAID | st.just(list(range(10**6))) | st.just("x" * 10**6) | st.just(10**5000))
@example([[[[float("nan")]]], "\ud800", 10**400])
def test_whatever_a_model_says_can_be_written_and_read_again(value):
    told = shown(value)
    text = json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    assert len(text) < 1024 * 1024
    assert json.loads(text) == told
    assert shown(told) == told


TYPES = {
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "long": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "string": st.text(max_size=5),
    "boolean": st.booleans(),
}


@given(st.data())
def test_rows_arrive_under_their_names_whatever_their_order(data):
    kinds = data.draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5))
    fields = tuple(SchemaField(name=f"f{i}", type=kind) for i, kind in enumerate(kinds))
    layout = Layout(InputSchema(fields=fields), as_frame=True)
    rows = [[data.draw(TYPES[kind]) for kind in kinds] for _ in range(3)]
    order = data.draw(st.permutations(range(len(kinds))))
    names = (*(f"f{i}" for i in order), "extra")
    sent = [[*(row[i] for i in order), "?"] for row in rows]
    frame = layout.build([(layout.plan(names), sent), (layout.plan(None), rows)])
    assert list(frame.columns) == [field.name for field in fields]
    assert frame.to_numpy(dtype=object).tolist() == rows + rows


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), min_size=2))
def test_anything_else_is_a_field_error(row):
    fields = (SchemaField(name="a", type="double"), SchemaField(name="b", type="long"))
    layout = Layout(InputSchema(fields=fields), as_frame=False)
    try:
        matrix = layout.build([(layout.plan(None), [row])])
    except FieldError as error:
        assert error.field in {"a", "b", None}
    else:
        assert matrix.shape == (1, 2)


@pytest.mark.parametrize(
    ("names", "rows", "field"),
    [
        (("a",), [[1.0]], "b"),
        (("a", "a", "b"), [[1.0, 2.0, 3]], "a"),
        (None, [[1.0, 2**63]], "b"),
        (None, [[10**400, 1]], "a"),
        (None, [[True, 1]], "a"),
        (None, [[1.0, None]], "b"),
        (None, [[1.0, 1.0]], "b"),
    ],
)
def test_the_field_at_fault_is_named(names, rows, field):
    fields = (SchemaField(name="a", type="double"), SchemaField(name="b", type="long"))
    layout = Layout(InputSchema(fields=fields), as_frame=False)
    with pytest.raises(FieldError) as caught:
        layout.build([(layout.plan(names), rows)])
    assert caught.value.field == field


async def test_a_model_of_a_frame_is_verified_in_little_memory(store):
    # Arrow's own allocator mapped a gigabyte for the names of its columns, from the second time on.
    manifest = save_model(*fitted("mixed"), store=store, name="mixed")
    verifier = Verifier(store.roots, time_limit_s=DEADLINE_S, memory_limit_bytes=256 * 1024**2)
    try:
        for _ in range(3):
            checks = await verifier.verify(manifest)
            assert [check for check in checks if not check.passed] == []
    finally:
        await verifier.stop()
