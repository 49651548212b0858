"""Experiments: data in, a leaderboard of cross-validated pipelines out."""

import re
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
from sklearn.base import BaseEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from artifacts.frames import Layout
from artifacts.infer import sample_rows
from artifacts.library import manifest_path, manifests, write_manifest
from artifacts.store import Store
from artifacts.verify import Verifier
from experiments import (
    DataError,
    ExperimentError,
    Plan,
    catalogue,
    experiments,
    load,
    run,
    running,
    save_pipeline,
)
from experiments.catalogue import pipelines
from experiments.data import dataset
from experiments.experiment import DOCUMENT, PAGE
from experiments.page import page

RNG = np.random.default_rng(3)
ROWS = 60
FAST = {"decision tree", "k nearest neighbours"}


def customers():
    """Return numbers, whole numbers, text and truth values, each with and without gaps."""
    age = RNG.normal(40, 10, ROWS)
    city = RNG.choice(["Rome", "Oslo", "<b>Paris</b>"], ROWS).astype(object)
    member = (RNG.random(ROWS) < 0.5).astype(object)
    left = np.where(age + 8 * (city == "Rome") + RNG.normal(0, 4, ROWS) > 42, "left", "stayed")
    age[::9], city[::7], member[::11] = np.nan, None, None
    return pd.DataFrame(
        {
            "age": age,
            "visits": RNG.integers(0, 9, ROWS),
            "small": RNG.normal(size=ROWS).astype(np.float32),
            "city": city,
            "plan": RNG.choice(["basic", "gold"], ROWS),
            "member": member,
            "paid": RNG.random(ROWS) < 0.5,
            "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(ROWS), "D"),
            "left": left,
        }
    )


FRAME = customers()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(autouse=True, scope="module")
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "TREES", 5)
        yield


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def churn(root, steps):
    return run(FRAME, Plan("churn", "left", folds=3), root, steps.append)


def test_an_experiment_ranks_its_pipelines_by_cross_validation(churn, steps):
    board = churn.leaderboard()
    assert [pipeline.rank for pipeline in board] == list(range(1, 11))
    means = [pipeline.metrics["roc_auc"].mean for pipeline in board]
    assert means == sorted(means, reverse=True)
    assert (churn.task, churn.classes, churn.ranked_by) == (
        "classification",
        ("left", "stayed"),
        "roc_auc",
    )
    for pipeline in board:
        assert set(pipeline.metrics) == {
            "roc_auc", "accuracy", "balanced_accuracy", "f1_macro", "log_loss",
        }  # fmt: skip
        for spread in pipeline.metrics.values():
            assert spread.mean == pytest.approx(np.mean(spread.folds))
            assert len(spread.folds) == 3
        assert sum(map(sum, pipeline.errors.confusion)) == ROWS
        assert len(pipeline.errors.roc) == 101
    baseline = next(p for p in board if p.algorithm.startswith("baseline"))
    assert baseline.metrics["roc_auc"].mean == 0.5 < means[0]
    assert [step.done for step in steps] == list(range(11))
    assert steps[-1].algorithm is None


@pytest.fixture
def fast(monkeypatch):
    """Two pipelines instead of ten, where how many there are proves nothing."""

    def some(data, seed):
        known = pipelines(data, seed)
        return {name: known[name] for name in list(known) if name in FAST}

    monkeypatch.setattr(running, "pipelines", some)


def measured(experiment):
    return {p.algorithm: (p.metrics, p.errors) for p in experiment.pipelines}


def test_the_same_seed_makes_the_same_leaderboard(churn, tmp_path):
    again = run(FRAME, Plan("again", "left", folds=3), tmp_path)
    assert measured(again) == measured(churn)
    assert [p.rank for p in again.pipelines] == [p.rank for p in churn.pipelines]


@pytest.mark.usefixtures("fast")
def test_another_seed_makes_another_one(churn, tmp_path):
    other = run(FRAME, Plan("other", "left", folds=3, seed=1), tmp_path)
    assert set(measured(other)) == FAST
    assert all(measured(other)[name] != measured(churn)[name] for name in FAST)


def test_training_sees_columns_of_the_types_that_scoring_builds():
    data = dataset(FRAME, "left")
    sample = sample_rows(data.features)
    layout = Layout(data.schema, as_frame=True)
    built = layout.build([(layout.plan(sample.fields), sample.values)])
    assert built.dtypes.to_dict() == data.features.dtypes.to_dict()
    assert {f.name: (f.type, f.nullable) for f in data.schema.fields} == {
        "age": ("double", True),
        "visits": ("long", False),
        "small": ("float", False),
        "city": ("string", True),
        "plan": ("string", False),
        "member": ("boolean", True),
        "paid": ("boolean", False),
    }
    assert "left out: 'since'" in data.notes[-1]


@pytest_asyncio.fixture
async def verifier(root):
    verifier = Verifier([str(root / "store")], time_limit_s=10, memory_limit_bytes=1024**3)
    yield verifier
    await verifier.stop()


async def test_every_pipeline_is_saved_and_verified_as_a_model(churn, root, verifier):
    features = dataset(FRAME, "left").features
    for pipeline in churn.pipelines:
        manifest = save_pipeline(root, churn, pipeline.number, store=Store([str(root / "store")]))
        assert manifest.name == f"churn-{pipeline.number}"
        assert manifest.metrics["roc_auc"] == pytest.approx(
            pipeline.metrics["roc_auc"].mean, abs=1e-6
        )
        assert manifest.output_schema.classes == ("left", "stayed")
        checks = await verifier.verify(manifest)
        assert [check for check in checks if not check.passed] == []
        fitted = joblib.load(root / "churn" / pipeline.file)
        assert len(fitted.predict(features)) == ROWS


def test_a_saved_pipeline_bears_what_it_is_given(churn, root):
    store = Store([str(root / "store")])
    manifest = save_pipeline(root, churn, 4, store=store, name="c/1", tags=["a"], description="d")
    assert (manifest.name, manifest.tags, manifest.description) == ("c/1", ("a",), "d")
    folder = root / "models"
    write_manifest(manifest_path(folder, manifest.name), manifest)
    assert manifests(folder) == [manifest]


def test_an_experiment_is_read_back_as_it_was(churn, root):
    assert load(root, "churn") == churn
    assert churn in experiments(root)
    with pytest.raises(ExperimentError, match=r"no experiment 'chrn' in .* but: churn"):
        load(root, "chrn")
    with pytest.raises(ExperimentError, match="pipelines 1 to 10, not 11"):
        churn.pipeline(11)


def test_a_pipeline_file_that_was_changed_is_not_saved(churn, root):
    path = root / "churn" / churn.pipeline(4).file
    content = path.read_bytes()
    path.write_bytes(content + b"!")
    try:
        with pytest.raises(ExperimentError, match="not the file that the experiment wrote"):
            save_pipeline(root, churn, 4, store=Store([str(root / "store")]))
    finally:
        path.write_bytes(content)


def test_a_name_that_is_taken_or_is_none_is_refused(churn, root):
    with pytest.raises(ExperimentError, match="exists"):
        run(FRAME, Plan(churn.name, "left"), root)
    with pytest.raises(ExperimentError, match="no name"):
        run(FRAME, Plan("../churn", "left"), root)


def test_a_regression_is_ranked_by_its_error(root):
    y = 3 * FRAME["visits"] + FRAME["small"]
    steps = []
    found = run(FRAME.assign(y=y), Plan("cost", "y", folds=3), root, steps.append)
    assert (found.task, found.classes, found.ranked_by) == ("regression", None, "rmse")
    errors = [pipeline.metrics["rmse"].mean for pipeline in found.leaderboard()]
    assert errors == sorted(errors)
    assert found.leaderboard()[0].metrics["r2"].mean > 0.9
    assert len(found.pipelines[0].errors.pairs) == ROWS
    assert "actual" in page(found)


@pytest.mark.usefixtures("fast")
def test_another_metric_ranks_where_it_is_asked_for(root):
    y = 3 * FRAME["visits"] + FRAME["small"]
    found = run(FRAME.assign(y=y), Plan("r2", "y", folds=3, metric="r2"), root)
    ranks = [pipeline.metrics["r2"].mean for pipeline in found.leaderboard()]
    assert ranks == sorted(ranks, reverse=True)
    assert len(ranks) == len(FAST)


class Broken(BaseEstimator):
    def fit(self, _x, _y):
        raise ValueError("it cannot")


class Warns(GaussianNB):
    def fit(self, x, y):
        warnings.warn("it did not converge", UserWarning, stacklevel=1)
        return super().fit(x, y)


def test_a_pipeline_that_fails_leaves_the_others(tmp_path, monkeypatch):
    def some(data, seed):
        known = pipelines(data, seed)
        steps = catalogue.preparation(data.schema, scaled=False)
        return {
            "broken": make_pipeline(steps, Broken()),
            "warns": make_pipeline(steps, Warns()),
            "tree": known["decision tree"],
        }

    monkeypatch.setattr(running, "pipelines", some)
    # It keeps what it was trained by, and a class of this module cannot be read elsewhere.
    found = run(FRAME, Plan("e", "left", folds=3), tmp_path)
    broken, warns, _ = found.pipelines
    assert (broken.rank, broken.file, broken.error) == (None, None, "ValueError: it cannot")
    assert warns.warnings == ("it did not converge",)
    assert found.leaderboard()[-1] is broken
    assert "failed: ValueError: it cannot" in page(found)
    with pytest.raises(ExperimentError, match="was not trained: ValueError: it cannot"):
        found.pipeline(1)
    monkeypatch.setattr(running, "pipelines", lambda *given: {"broken": some(*given)["broken"]})
    with pytest.raises(DataError, match="no pipeline could be trained; broken: ValueError"):
        run(FRAME, Plan("none", "left", folds=3), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


@pytest.mark.parametrize(
    ("change", "plan", "told"),
    [
        (lambda f: f, {"target": "lft"}, "no column 'lft'; near it: 'left'"),
        (lambda f: f, {"target": "zzz"}, "no column 'zzz'; 'age', 'visits', .* and 4 more"),
        (lambda f: f, {"leave_out": ["zzz"]}, "no column 'zzz'"),
        (lambda f: f.assign(left=None), {}, "'left' has no value in any of the 60 rows"),
        (lambda f: f.assign(left="left"), {}, "has one class, 'left'"),
        (
            lambda f: f.head(8),
            {"folds": 5},
            "5 folds need at least 5 rows of each class of 'left', and there are [1-4] of",
        ),
        (lambda f: f.assign(age=None), {}, "no row has a value in 'age'"),
        (lambda f: f[["left"]], {}, "no column beside the target"),
        (lambda f: f[["left", "since"]], {}, "no column to learn from beside the target and times"),
        (lambda f: f.rename(columns={"age": ""}), {}, "no input schema has such columns: name"),
        (lambda f: f, {"task": "regression"}, "holds '(left|stayed)': a regression needs numbers"),
        (lambda f: f, {"target": "small", "task": "classification"}, "class labels are"),
        (lambda f: f, {"target": "paid", "task": "regression"}, "a regression needs numbers"),
        (lambda f: f.head(5), {"target": "small"}, "5 rows are too few for 5 folds"),
        (lambda f: f.assign(y=1.5), {"target": "y"}, "is 1.5 in every row"),
        (lambda f: f.assign(y=np.inf), {"target": "y"}, "'y' has an infinite value"),
        (lambda f: f.assign(small=np.inf), {}, "'small' has an infinite value"),
        (lambda f: f, {"folds": 1}, "1 folds: cross-validation needs at least 2"),
        (lambda f: f, {"metric": "speed"}, "no metric 'speed', but: roc_auc, "),
    ],
)
def test_data_that_cannot_be_trained_on_is_told(change, plan, told, tmp_path):
    with pytest.raises(DataError, match=told):
        run(change(FRAME), Plan(**{"name": "e", "target": "left"} | plan), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "task", "labels"),
    [
        ([0, 1, 1, 2] * 5, "classification", [0, 1, 2]),
        ([0.0, 1.0, None, 1.0] * 5, "classification", [0, 1]),
        ([True, False] * 10, "classification", [False, True]),
        ([True, False, None, True] * 5, "classification", [False, True]),
        (["a", "b"] * 10, "classification", ["a", "b"]),
        (pd.Categorical(["a", "b"] * 10), "classification", ["a", "b"]),
        ([0.5, 1.5, 2.25, 3.0] * 5, "regression", [0.5, 1.5, 2.25, 3.0]),
        (list(range(20)), "regression", list(range(20))),
    ],
)
def test_the_target_decides_the_task(values, task, labels):
    data = dataset(pd.DataFrame({"x": np.arange(20.0), "y": values}), "y", folds=2)
    assert data.task == task
    assert np.unique(data.target).tolist() == labels
    assert len(data.features) == len(data.target) == sum(v is not None for v in values)


def test_the_page_needs_nothing_else_and_shows_names_as_they_are(churn, root):
    written = (root / "churn" / PAGE).read_text()
    assert written == page(churn)
    assert (root / "churn" / DOCUMENT).exists()
    assert not re.search(r"<script|https?://|url\(|@import|<link", written)
    assert "color-scheme" in written
    odd = churn.model_copy(update={"target": "<script>", "notes": ("<b>",)})
    assert "<script" not in page(odd)
    assert "&lt;b&gt;" in page(odd)
    for pipeline in churn.pipelines:
        assert f"{pipeline.algorithm} · {pipeline.number}" in written
