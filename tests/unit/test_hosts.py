"""Models in processes of their own: what one does there stays there."""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import joblib
import numpy as np
import psutil
import pytest
import pytest_asyncio

from artifacts.comparison import predictions_apart
from artifacts.hosts import Hosts, Limits
from artifacts.processes import (
    ModelDiedError,
    ModelGoneError,
    ModelOverdueError,
    ModelRaisedError,
)
from artifacts.save import save_model
from artifacts.store import Store
from bench.hostile.moods import MOODS, Moody
from schemas.errors import StoreError
from schemas.manifest import Manifest, Sample
from schemas.scoring import ScoringCode
from scoring.cache import ModelCache, ModelRef
from scoring.codecs.tables import Table
from scoring.errors import ScoringError
from scoring.predictor import Predictor
from scoring.quarantine import Quarantine
from tests.support import DEADLINE_S, until
from tests.unit.models import Evil, X, fitted

ROWS = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
MOODY_ROWS = np.array([[1.0, 0.0, 0.0], [Moody.MOOD, 0.0, 0.0]])
LEAK = "leaks 100 MB a call"
# What is to pass has longer than a slow machine needs; what hangs is given less.
LIMITS = Limits(load_s=DEADLINE_S, predict_s=DEADLINE_S, memory_bytes=1024**3)
HANGS_S = 2.0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store([str(tmp_path_factory.mktemp("models") / "store")])


@pytest_asyncio.fixture(scope="module")
async def hosts(store):
    hosts = Hosts(store, LIMITS, at_once=16)
    with pytest.MonkeyPatch.context() as patch:
        # Whatever is started for it, now or later, could see it.
        patch.setenv("BATON_SECRET", "hunter2")
        yield hosts
    server = psutil.Process(hosts._server._process.pid)
    running = [server, *server.children()]
    await hosts.stop()
    until(lambda: all(gone(process.pid) for process in running), "all ends with it")


@contextlib.contextmanager
def impatient(hosts):
    """Give what is loaded meanwhile little time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosts, "_limits", replace(LIMITS, load_s=HANGS_S, predict_s=HANGS_S))
        yield


def saved(store: Store, tmp_path, thing) -> Manifest:
    """The manifest of ``thing``, whatever that is: as if it had passed its verification."""
    good = save_model(fitted("regression")[0], X, store=store, name="moody")
    path = tmp_path / "thing.joblib"
    joblib.dump(thing, path)
    stored = store.put(path)
    changes = {"uri": stored.uri, "sha256": stored.sha256, "size": stored.size}
    return good.model_copy(update=changes)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def alive(hosts):
    return {process for process in hosts._processes if process.alive}


def ask(model, rows):
    return model.predict(lambda: rows)


BAD = {
    "sleeps for ever": (ModelOverdueError, "no answer within 2 s"),
    "never ends": (ModelOverdueError, "no answer within 2 s"),
    "exits": (ModelDiedError, "status 3"),
    "segfaults": (ModelDiedError, "SIGSEGV"),
    "is killed": (ModelDiedError, "SIGKILL"),
    "raises": (ModelRaisedError, "RuntimeError: not this row"),
    "raises what cannot be told": (ModelRaisedError, "Mute"),
    "exits by exception": (ModelRaisedError, "SystemExit"),
    "answers what is no JSON": (ModelRaisedError, "JSON"),
    "takes 8 GB": (ModelDiedError, "memory"),
    "speaks out of turn": (ModelDiedError, "process"),
    "closes everything": (ModelDiedError, "process"),
}


@pytest.mark.parametrize("mood", BAD)
async def test_a_model_that_misbehaves_is_told_apart_and_costs_its_own_process(
    hosts, store, tmp_path, mood
):
    error, says = BAD[mood]
    good = await hosts.load(saved(store, tmp_path, Moody("answer = answer + 0")))
    bad = await hosts.load(saved(store, tmp_path, Moody(MOODS[mood])))
    labels, _ = await ask(bad, ROWS)
    assert labels.tolist() == [2.0, 4.0]
    pid = bad._process._pid
    if error is ModelOverdueError:
        bad._limit_s = HANGS_S
    with pytest.raises(error, match=says) as raised:
        await ask(bad, MOODY_ROWS)
    if error is ModelRaisedError:
        assert (await ask(bad, ROWS))[0].tolist() == [2.0, 4.0]
        await bad.close()
    elif error is ModelDiedError:
        assert raised.value.answered > 0
    assert not bad.alive
    assert not psutil.pid_exists(pid)
    with pytest.raises(ModelGoneError):
        await ask(bad, ROWS)
    assert (await ask(good, MOODY_ROWS))[0].tolist() == [2.0, 2 * Moody.MOOD]
    await good.close()


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("raise ValueError('no model')", ModelRaisedError, "no model"),
        ("import time; time.sleep(99)", ModelOverdueError, "within 2 s"),
        ("import os; os._exit(3)", ModelDiedError, "status 3"),
        ("import ctypes; ctypes.string_at(0)", ModelDiedError, "SIGSEGV"),
        ("x = bytearray(8 * 1024**3)", ModelDiedError, "memory"),
    ],
)
async def test_a_file_that_does_harm_when_loaded_does_it_to_its_own_process(
    hosts, store, tmp_path, code, error, says
):
    hangs = error is ModelOverdueError
    with impatient(hosts) if hangs else contextlib.nullcontext(), pytest.raises(error, match=says):
        await hosts.load(saved(store, tmp_path, Evil(code)))


async def test_a_file_that_was_changed_or_is_of_another_version_is_not_loaded(
    hosts, store, tmp_path
):
    manifest = saved(store, tmp_path, Moody(""))
    with pytest.raises(StoreError, match="SHA-256"):
        await hosts.load(manifest.model_copy(update={"sha256": "0" * 64}))
    other = manifest.framework.model_copy(update={"version": "1.0.0"})
    with pytest.raises(StoreError, match=r"manifest says 1\.0\.0"):
        await hosts.load(manifest.model_copy(update={"framework": other}))


async def test_what_a_model_starts_ends_with_it(hosts, store, tmp_path):
    begun = tmp_path / "begun"
    mood = f"""
import os, time
child = os.fork()
if child:
    open({str(begun)!r}, "w").write(str(child))
time.sleep(10**6)
"""
    with impatient(hosts):
        model = await hosts.load(saved(store, tmp_path, Moody(mood)))
    with pytest.raises(ModelOverdueError):
        await ask(model, MOODY_ROWS)
    child = int(begun.read_text())
    until(lambda: gone(child), "its child is gone")


async def test_a_model_sees_no_secret(hosts, store, tmp_path):
    assert "BATON_SECRET" in os.environ
    mood = "import os; raise ValueError(sorted(os.environ.items()))"
    model = await hosts.load(saved(store, tmp_path, Moody(mood)))
    with pytest.raises(ModelRaisedError, match="PATH") as raised:
        await ask(model, MOODY_ROWS)
    assert "SECRET" not in str(raised.value)
    assert "hunter2" not in str(raised.value)
    await model.close()


async def test_after_the_forking_process_has_died_models_are_loaded_again(hosts, store, tmp_path):
    model = await hosts.load(manifest := saved(store, tmp_path, Moody("")))
    psutil.Process(hosts._server._process.pid).kill()
    until(lambda: gone(model._process._pid), "its processes end with it")
    with pytest.raises(ModelDiedError):
        await ask(model, ROWS)
    model = await hosts.load(manifest)
    assert (await ask(model, ROWS))[0].tolist() == [2.0, 4.0]
    await model.close()


PARENT = """
import asyncio, sys
from artifacts.comparison import predictions_apart
from artifacts.hosts import Hosts, Limits
from artifacts.store import Store
from schemas.manifest import Manifest, Sample
async def main():
    hosts = Hosts(Store([sys.argv[1]]), Limits(predict_s=600), at_once=2)
    model = await hosts.load(Manifest.model_validate_json(sys.argv[2]))
    print(model._process._pid, flush=True)
    import numpy
    await model.predict(lambda: numpy.array([[666.0, 0.0, 0.0]]))
asyncio.run(main())
"""


def test_a_model_that_hangs_ends_with_its_agent_however_that_dies(store, tmp_path):
    manifest = saved(store, tmp_path, Moody("while True: pass"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, store.roots[0], manifest.model_dump_json()],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with parent.stdout:
        process = psutil.Process(int(parent.stdout.readline()))
    until(lambda: process.cpu_times().user > 0.2, "it is busy")
    parent.kill()
    parent.wait()
    until(lambda: gone(process.pid), "the model's process is gone")


@pytest.fixture
def predictor(hosts):
    quarantine = Quarantine()
    cache = ModelCache(hosts.load, quarantine, max_models=8, max_bytes=1024**3)
    return Predictor(cache, quarantine)


def tables(*values):
    return [[Table(None, [[float(value), 0.0, 0.0]])] for value in values]


def told(results):
    return [
        result.reason if isinstance(result, ScoringError) else result[0].predictions[0]
        for result in results
    ]


@pytest.mark.parametrize(
    "mood",
    [name for name in MOODS if name not in {"sleeps for ever", "never ends", LEAK}],
)
async def test_the_rows_that_break_a_model_fail_alone(predictor, store, tmp_path, mood):
    manifest = saved(store, tmp_path, Moody(MOODS[mood]))
    requests = tables(1, 2, Moody.MOOD, 4, 5, 6, 7)
    found = told(await predictor.predict(ModelRef.of(manifest), requests))
    assert found == [2, 4, ScoringCode.MODEL_ERROR, 8, 10, 12, 14]


async def test_a_model_that_hangs_is_tried_no_more(predictor, hosts, store, tmp_path):
    manifest = saved(store, tmp_path, Moody(MOODS["sleeps for ever"]))
    with impatient(hosts):
        (hung,) = await predictor.predict(ModelRef.of(manifest), tables(Moody.MOOD))
    assert (hung.reason, "within 2 s" in hung.message) == (ScoringCode.MODEL_ERROR, True)
    (refused,) = await predictor.predict(ModelRef.of(manifest), tables(1))
    assert "in quarantine on this instance" in refused.message


async def test_a_model_that_leaks_is_started_anew_and_no_request_notices(
    predictor, store, tmp_path
):
    manifest = saved(store, tmp_path, Moody(MOODS[LEAK]))
    for _ in range(25):
        found = await predictor.predict(ModelRef.of(manifest), tables(Moody.MOOD))
        assert told(found) == [2 * Moody.MOOD]


async def test_rows_that_do_not_fit_are_told_and_the_others_answered(predictor, store, tmp_path):
    manifest = saved(store, tmp_path, Moody(""))
    requests = [*tables(1), [Table(None, [["a", 0.0, 0.0]])], [Table(("x0",), [[1.0]])], *tables(4)]
    found = told(await predictor.predict(ModelRef.of(manifest), requests))
    assert found == [2, ScoringCode.SCHEMA_MISMATCH, ScoringCode.SCHEMA_MISMATCH, 8]


async def test_more_rows_than_one_call_takes_come_back_in_order(predictor, store, tmp_path):
    manifest = saved(store, tmp_path, Moody(""))
    requests = tables(*range(700, 5700))
    assert told(await predictor.predict(ModelRef.of(manifest), requests)) == [
        2 * n for n in range(700, 5700)
    ]


async def test_predictions_are_compared_where_they_cost_nothing_else(hosts, store):
    binary, shifted = fitted("binary")[0], fitted("binary")[0]
    shifted.intercept_ = shifted.intercept_ + 99
    one = save_model(binary, X, store=store, name="one")
    two = save_model(shifted, X, store=store, name="two")
    before = alive(hosts)
    pairs, reason = await predictions_apart(one, two, hosts)
    assert reason is None
    rows = np.asarray(one.sample.values)
    assert [pair.first.prediction for pair in pairs] == binary.predict(rows).tolist()
    assert {pair.second.prediction for pair in pairs} == {1}
    assert [pair.same for pair in pairs] == [pair.first.prediction == 1 for pair in pairs]
    assert pairs[0].first.probability == pytest.approx(binary.predict_proba(rows)[0])
    assert alive(hosts) <= before


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (Moody(MOODS["answers too few"]), "two answers 1 predictions to 2 rows"),
        (Evil("import os; os._exit(3)"), "two cannot be loaded: its process ended with status 3"),
        (Moody(MOODS["sleeps for ever"]), "two does not predict on these rows: .* within 2 s"),
        (Moody(MOODS["raises"]), "two does not predict on these rows: RuntimeError: not this row"),
    ],
)
async def test_a_model_that_cannot_be_compared_is_told(hosts, store, tmp_path, thing, says):
    sample = Sample(fields=("x0", "x1", "x2"), values=MOODY_ROWS.tolist())
    one = save_model(fitted("regression")[0], X, store=store, name="one")
    one = one.model_copy(update={"sample": sample})
    two = saved(store, tmp_path, thing).model_copy(update={"name": "two"})
    hangs = "within" in says
    with impatient(hosts) if hangs else contextlib.nullcontext():
        pairs, reason = await predictions_apart(one, two, hosts)
    assert pairs == ()
    assert re.search(says, reason), reason
    _, reason = await predictions_apart(one.model_copy(update={"sample": None}), two, hosts)
    assert reason == "one has no sample rows"
