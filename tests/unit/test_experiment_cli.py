"""``baton experiment``, ``baton model`` and ``baton promote`` without a broker."""

import json

import joblib
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner

from client.cli import main
from experiments import catalogue
from tests.unit.models import X, Y, fitted


def run(*arguments, **env):
    return CliRunner(env={"BATON_BOOTSTRAP_SERVERS": "", "COLUMNS": "200"} | env).invoke(
        main, arguments
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder in which an experiment was run and two of its pipelines were saved."""
    folder = tmp_path_factory.mktemp("work")
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    frame.assign(y=Y).to_csv(folder / "train.csv", index=False)
    frame.to_csv(folder / "rows.csv", index=False)
    joblib.dump(fitted("binary")[0], folder / "m.joblib")
    skops.io.dump(fitted("binary")[0], folder / "m.skops")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(catalogue, "TREES", 5)
        done = run("experiment", "run", "--data", "train.csv", "--target", "y", "--folds", "3")
        assert done.exit_code == 0, done.output
        assert "next: baton model save --experiment train-1 --pipeline" in done.output
        for pipeline in ("8", "1"):
            done = run("model", "save", "--experiment", "train-1", "--pipeline", pipeline)
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(autouse=True)
def work(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_the_leaderboard_is_shown_and_is_data():
    done = run("experiment", "show", "train-1")
    assert "baseline: class frequencies" in done.output
    assert ".baton/experiments/train-1/leaderboard.html" in done.output
    shown = json.loads(run("--json", "experiment", "show", "train-1").output)
    assert len(shown["pipelines"]) == 10
    (listed,) = json.loads(run("--json", "experiment", "list").output)
    assert (listed["name"], listed["ranked_by"], listed["pipelines"]) == ("train-1", "roc_auc", 10)
    assert "train-1" in run("experiment", "list").output


def test_saved_pipelines_are_listed_shown_and_compared():
    names = [found["name"] for found in json.loads(run("--json", "model", "list").output)]
    assert names[:2] == ["train-1-1", "train-1-8"]
    assert "train-1-8" in run("model", "list").output
    shown = run("model", "show", "train-1-8").output
    assert "extra trees, pipeline 8 of experiment train-1" in shown
    assert json.loads(run("--json", "model", "show", "train-1-8").output)["metrics"]
    done = run("model", "compare", "train-1-1", "train-1-8")
    assert (done.exit_code, "difference" in done.output) == (0, True), done.output
    found = json.loads(run("--json", "model", "compare", "train-1-1", "train-1-8").output)
    assert [field["same"] for field in found["fields"]] == [True] * 3
    assert len(found["predictions"]) == 5


def test_the_best_pipeline_is_saved_where_none_is_named():
    best = json.loads(run("--json", "experiment", "show", "train-1").output)["pipelines"]
    number = next(pipeline["number"] for pipeline in best if pipeline["rank"] == 1)
    arguments = ("--name", "best", "--tag", "a", "--output", "best.json")
    done = run("--json", "model", "save", "--experiment", "train-1", *arguments)
    saved = json.loads(done.output)
    assert f"pipeline {number} of experiment train-1" in saved["description"]
    assert (saved["tags"], saved["manifest"]) == (["a"], "best.json")


@pytest.mark.parametrize("file", ["m.joblib", "m.skops"])
def test_a_file_is_imported(file):
    done = run("--json", "model", "import", file, "--sample", "train.csv", "--target", "y")
    assert done.exit_code == 0, done.output
    saved = json.loads(done.output)
    assert saved["name"] == "m"
    assert [field["name"] for field in saved["input_schema"]["fields"]] == ["x0", "x1", "x2"]


SAVE = ("model", "save")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (SAVE, 2, "give either a FILE or --experiment"),
        ((*SAVE, "m.joblib", "--experiment", "train-1"), 2, "give either a FILE or --experiment"),
        ((*SAVE, "m.joblib", "--name", "m"), 2, "a FILE needs --sample"),
        ((*SAVE, "m.joblib", "--sample", "rows.csv"), 2, "a FILE needs --name"),
        ((*SAVE, "m.joblib", "--pipeline", "1"), 2, "--pipeline says nothing beside a FILE"),
        (
            (*SAVE, "--experiment", "train-1", "--sample", "rows.csv"),
            2,
            "--sample says nothing beside --experiment",
        ),
        ((*SAVE, "--experiment", "none"), 1, "there is no experiment 'none'"),
        ((*SAVE, "--experiment", "train-1", "--pipeline", "11"), 1, "pipelines 1 to 10, not 11"),
        (("model", "show", "none"), 1, "there is no model none"),
        (("model", "import", "none"), 2, "there is no file or folder none"),
        (("model", "import", "m.joblib"), 1, "has no signature"),
        (("model", "import", "models:/m/1"), 2, "needs --tracking-uri"),
        (("promote", "none", "--to", "s"), 1, "there is no model none"),
        (("promote", "train-1-8", "--to", "s"), 2, "run `baton up` in this folder"),
        (("experiment", "show", "none"), 1, "there is no experiment 'none'"),
        (
            ("experiment", "run", "--data", "train.csv", "--target", "z"),
            1,
            "there is no column 'z'; 'x0', 'x1', 'x2', 'y'",
        ),
    ],
)
def test_wrong_input_is_told_in_a_line(arguments, status, told):
    done = run(*arguments)
    assert (done.exit_code, told in done.output) == (status, True), done.output
    assert "Traceback" not in done.output
