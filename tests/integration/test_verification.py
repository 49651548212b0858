"""Model files that do what they should not: a failed check that says what, and nothing else."""

import asyncio
import contextlib
import os

import joblib
import numpy as np
import psutil
import pytest
import pytest_asyncio
from sklearn.linear_model import LogisticRegression

from artifacts.report import REPORT_BYTES
from artifacts.save import save_model
from artifacts.store import Store
from artifacts.verify import Verifier
from bench.hostile.moods import OfAnotherVersion
from client.audit import read_event
from schemas.cloudevents import encode
from schemas.events import Event, EventData, EventName
from tests.support import DEADLINE_S, eventually, little_time
from tests.unit.models import X, Y

# For what hangs; what passes has longer than a slow machine needs.
TIME_LIMIT_S = 3
MEMORY_LIMIT_BYTES = 1024**3

PLAIN = """
import ctypes, os, signal, sys, time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Model(ClassifierMixin, BaseEstimator):
    n_features_in_ = 3
    classes_ = np.array([0, 1])
    def predict(self, X):
        return np.zeros(len(X), int)
    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)

class Mute(Exception):
    def __str__(self):
        raise ValueError

def fails(error):
    def method(self, *_):
        raise error
    return method

model = Model()
"""


class Built:
    """Unpickles as what ``code`` calls ``model``, or as what happens until then."""

    def __init__(self, code):
        self.code = PLAIN + code

    def __reduce__(self):
        return eval, (f"(lambda names: (exec({self.code!r}, names), names['model'])[1])({{}})",)


HANG = "while True: time.sleep(1)"
# Its own session, so that no process group holds it; and a child of its own.
STRAYS = """
for _ in range(3):
    if os.fork() == 0:
        os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork()
        while True: time.sleep(1)
"""
EVERY_PIPE = """
for fd in range(3, 64):
    try:
        os.write(fd, {})
    except OSError:
        pass
"""

BAD = {
    "segfaults": (Built("ctypes.string_at(0)"), "load", "SIGSEGV"),
    "kills itself": (Built("os.kill(os.getpid(), 9)"), "load", "SIGKILL"),
    "aborts": (Built("os.abort()"), "load", "SIGABRT"),
    "exits": (Built("os._exit(0)"), "load", "status 0"),
    "stops itself": (Built("os.kill(os.getpid(), signal.SIGSTOP)"), "time_limit", "step load"),
    "hangs": (Built(HANG), "time_limit", "step load"),
    "hangs and hears nothing": (
        Built(f"for n in (2, 15, 24): signal.signal(n, signal.SIG_IGN)\n{HANG}"),
        "time_limit",
        "step load",
    ),
    "burns time": (Built("while True: pass"), "time_limit", "step load"),
    "asks for 8 GB": (Built("np.ones(1024**3)"), "memory_limit", "out of memory in step load"),
    "eats memory": (
        Built("kept = []\nwhile True: kept.append(bytearray(64 * 1024**2))"),
        "memory_limit",
        "out of memory",
    ),
    "leaves children and fails": (Built(f"{STRAYS}\nos._exit(3)"), "load", "status 3"),
    "leaves children and hangs": (Built(f"{STRAYS}\n{HANG}"), "time_limit", "step load"),
    "closes all files": (Built("os.closerange(0, 4096)"), "load", "status 1"),
    "closes all files and hangs": (
        Built(f"os.closerange(0, 4096)\n{HANG}"),
        "load",
        "closed its report and went on",
    ),
    "floods its report": (
        Built(
            "while True:\n  for fd in range(3, 64):\n    try: os.write(fd, b'x' * 65536)\n"
            "    except OSError: pass"
        ),
        "load",
        f"more than {REPORT_BYTES} bytes",
    ),
    "reports a step of its own": (
        Built(EVERY_PIPE.format('b\'{"step": "classes"}\\n\'') + "os._exit(3)"),
        "load",
        "status 3",
    ),
    "raises nothing sayable": (Built("raise Mute"), "load", "Mute: (it cannot say what)"),
    "raises half a pair": (Built("raise ValueError('\\ud800')"), "load", "ValueError: ?"),
    "is no model": (Built("model = 'a text'"), "load", "str"),
    "answers no question": (
        Built("Model.__getattr__ = fails(RuntimeError('no'))\ndel Model.predict"),
        "load",
        "RuntimeError: no",
    ),
    "has classes that raise": (
        Built("Model.classes_ = property(fails(RuntimeError('no')))"),
        "classes",
        "RuntimeError: no",
    ),
    "has a million classes": (
        Built("Model.classes_ = np.arange(1_000_000)"),
        "classes",
        "and 999900 more",
    ),
    "has classes that are NaN": (Built("Model.classes_ = np.array([0, np.nan])"), "classes", "nan"),
    "has a million features": (
        Built("Model.feature_names_in_ = np.arange(1_000_000)"),
        "features",
        "'5'",
    ),
    "raises on its sample": (
        Built("Model.predict = fails(KeyError('x'))"),
        "sample_prediction",
        "KeyError: 'x'",
    ),
    "answers too little": (
        Built("Model.predict = lambda self, X: np.zeros(1, int)"),
        "sample_prediction",
        "shape (1,)",
    ),
    "answers a scalar": (
        Built("Model.predict = lambda self, X: 1"),
        "sample_prediction",
        "shape ()",
    ),
    "has too many probabilities": (
        Built("Model.predict_proba = lambda self, X: np.full((len(X), 3), 0.3)"),
        "sample_prediction",
        "shape (5, 3)",
    ),
    "answers NaN": (
        Built("Model.predict = lambda self, X: np.full(len(X), np.nan)"),
        "sample_prediction",
        "NaN",
    ),
    "answers objects": (
        Built("Model.predict = lambda self, X: np.array([object()] * len(X))"),
        "sample_prediction",
        "not JSON serializable",
    ),
    "hangs on its sample": (
        Built("Model.predict = lambda self, X: time.sleep(1000)"),
        "time_limit",
        "step sample_prediction",
    ),
    "eats memory on its sample": (
        Built("Model.predict = lambda self, X: np.ones(1024**3)"),
        "memory_limit",
        "step sample_prediction",
    ),
    "segfaults on its sample": (
        Built("Model.predict = lambda self, X: ctypes.string_at(0)"),
        "sample_prediction",
        "SIGSEGV",
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store([str(tmp_path_factory.mktemp("models"))])


@pytest.fixture(scope="module")
def good(store):
    return save_model(LogisticRegression().fit(X, Y), X, store=store, name="good")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Return a mark in the environment of the verifier's processes and of all that they start."""
    mark = str(tmp_path_factory.mktemp("tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", mark)
        yield mark


@pytest_asyncio.fixture(scope="module")
async def verifier(store, marked):
    verifier = Verifier(store.roots, time_limit_s=DEADLINE_S, memory_limit_bytes=MEMORY_LIMIT_BYTES)
    await verifier.start()
    yield verifier
    await verifier.stop()
    assert alive(marked) == []


def alive(mark):
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("TMPDIR") == mark
        except (psutil.Error, OSError):
            continue
        if marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def manifest_of(thing, good, store, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(thing, path)
    stored = store.put(path)
    return good.model_copy(update={"uri": stored.uri, "sha256": stored.sha256})


def told(checks):
    """The one failed check, once all of them have been through the audit log and back."""
    data = EventData(
        space_id="s", command_id="c", command_type="t", checks=checks, deployment_id="d"
    )
    event = Event(
        name=EventName.UPDATE_FAILED, subject="d", time="", causation_source="/", data=data
    )
    headers, value = encode(event.cloudevent(partition=0, sequence=1, topic="events"))
    assert len(value) < 64 * 1024
    record = type("Record", (), {"headers": headers, "value": value, "partition": 0, "offset": 0})
    (failed,) = [check for check in read_event(record).data.checks if not check.passed]
    return failed


async def assert_none_the_worse(verifier, zygote, good, marked):
    assert alive(marked) == [zygote]
    assert all(check.passed for check in await verifier.verify(good))
    assert verifier._zygote.process.pid == zygote


@pytest.mark.parametrize("case", BAD)
async def test_a_model_that_misbehaves_fails_one_check_and_nothing_else(
    case, store, good, verifier, marked, tmp_path
):
    thing, name, says = BAD[case]
    zygote = verifier._zygote.process.pid
    with little_time(verifier, TIME_LIMIT_S) if name == "time_limit" else contextlib.nullcontext():
        failed = told(await verifier.verify(manifest_of(thing, good, store, tmp_path)))
    assert (failed.name, says in str(failed.actual)) == (name, True), failed
    assert failed.hint
    await assert_none_the_worse(verifier, zygote, good, marked)


@pytest.mark.parametrize(
    "code",
    [
        "for fd in (1, 2): os.write(fd, b'noise\\n')",
        EVERY_PIPE.format("b'noise\\n'"),
        EVERY_PIPE.format("b'[' * 5000 + b'\\n'"),
        EVERY_PIPE.format('b\'{"checks": 1, "step": [], "out_of_memory": 1}\\n\''),
        "print('\\ud800'.encode('utf-8', 'surrogatepass'))",
        "import warnings\nwarnings.warn('be warned')",
        STRAYS,
    ],
)
async def test_a_noisy_model_that_predicts_well_is_verified(
    code, store, good, verifier, marked, tmp_path
):
    zygote = verifier._zygote.process.pid
    checks = await verifier.verify(manifest_of(Built(code), good, store, tmp_path))
    assert [check for check in checks if not check.passed] == []
    await assert_none_the_worse(verifier, zygote, good, marked)


FORGED = """
import gc, json
(order,) = [o for o in gc.get_objects() if type(o) is dict and "memory_limit_bytes" in o
            and "roots" in o][:1]
line = json.dumps(dict({}, id=order["id"])).encode() + b"\\n"
{}
os._exit(0)
"""


@pytest.mark.parametrize(
    "report",
    [
        '{"checks": [], "peak": 1}',
        '{"checks": [{"name": "load", "passed": True}], "peak": 1}',
        '{"checks": [{"name": 1}], "peak": 1}',
        '{"checks": 1}',
        '{"step": ["load"]}',
        '{"error": {"a": float("nan")}}',
    ],
)
async def test_a_report_that_a_model_forges_in_part_is_a_failed_load(
    report, store, good, verifier, marked, tmp_path
):
    code = FORGED.format(report, EVERY_PIPE.format("line"))
    zygote = verifier._zygote.process.pid
    failed = told(await verifier.verify(manifest_of(Built(code), good, store, tmp_path)))
    assert failed.name == "load", failed
    await assert_none_the_worse(verifier, zygote, good, marked)


def truncated(good, store, tmp_path):
    whole = store.read(good.uri, good.sha256)
    path = tmp_path / "half.joblib"
    path.write_bytes(whole[: len(whole) // 2])
    stored = store.put(path)
    return good.model_copy(update={"uri": stored.uri, "sha256": stored.sha256})


async def test_a_truncated_file_fails_its_load(store, good, verifier, tmp_path):
    failed = told(await verifier.verify(truncated(good, store, tmp_path)))
    assert failed.name == "load"
    assert "joblib" in failed.hint


async def test_a_file_cut_after_it_was_promoted_fails_its_digest(store, good, verifier, tmp_path):
    half = truncated(good, store, tmp_path)
    failed = told(await verifier.verify(half.model_copy(update={"sha256": good.sha256})))
    assert failed.name == "digest"
    assert "save and promote the model again" in failed.hint


async def test_a_file_of_another_scikit_learn_fails_its_version(store, good, verifier, tmp_path):
    estimator = OfAnotherVersion().fit(X, Y)
    failed = told(await verifier.verify(manifest_of(estimator, good, store, tmp_path)))
    assert failed.name == "framework_version"
    assert failed.actual == "scikit-learn 1.8.0"


async def test_a_file_of_200_mb_is_verified_within_the_memory_limit(store, verifier):
    estimator = LogisticRegression().fit(X, Y)
    estimator.ballast_ = np.random.default_rng(0).bytes(200 * 1024**2)
    manifest = save_model(estimator, X, store=store, name="large")
    assert manifest.size > 200 * 1024**2
    checks = await verifier.verify(manifest)
    assert [check for check in checks if not check.passed] == []


async def test_a_model_that_kills_the_verifier_fails_alone(store, good, verifier, marked, tmp_path):
    killer = manifest_of(Built("os.kill(os.getppid(), 9)\ntime.sleep(9)"), good, store, tmp_path)
    slow = manifest_of(Built("time.sleep(1)"), good, store, tmp_path)
    bad, *others = await asyncio.gather(
        verifier.verify(killer), *(verifier.verify(slow) for _ in range(3))
    )
    assert told(bad).actual == "the verifying process died twice"
    for checks in others:
        assert [check for check in checks if not check.passed] == []
    assert all(check.passed for check in await verifier.verify(good))
    assert alive(marked) == [verifier._zygote.process.pid]


async def test_a_hanging_model_keeps_others_waiting_no_longer_than_its_limit(
    store, good, verifier, tmp_path
):
    hangs = manifest_of(Built(HANG), good, store, tmp_path)
    with little_time(verifier, TIME_LIMIT_S):
        stuck = [asyncio.create_task(verifier.verify(hangs)) for _ in range(2)]
        # They have been given their limit, and the one behind them has more.
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        assert all(check.passed for check in await verifier.verify(good))
        for checks in await asyncio.gather(*stuck):
            assert told(checks).name == "time_limit"


async def test_what_a_verification_runs_ends_with_the_verifier(store, good, marked, tmp_path):
    verifier = Verifier(store.roots, time_limit_s=60)
    before = alive(marked)
    ready = tmp_path / "ready"
    code = f"{STRAYS}\nopen({str(ready)!r}, 'w').close()\n{HANG}"
    hangs = manifest_of(Built(code), good, store, tmp_path)
    under_way = asyncio.create_task(verifier.verify(hangs))

    async def started():
        return ready.exists()

    await eventually(started, "the model runs")
    assert len(alive(marked)) > len(before) + 2
    under_way.cancel()
    await verifier.stop()
    assert alive(marked) == before
