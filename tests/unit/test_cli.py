"""The ``baton`` command without a broker: help, usage and errors."""

import json

import click
import joblib
import pandas as pd
import pytest
from click.testing import CliRunner

from client.cli import main
from tests.unit.models import X, fitted


def walk(command, path=()):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


COMMANDS = dict(walk(main))


def run(*arguments, **env):
    return CliRunner(env={"BATON_BOOTSTRAP_SERVERS": ""} | env).invoke(main, arguments)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path):
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    command = COMMANDS[path]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option) and option.required:
            assert "[required]" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("space", "create", "s"),
        ("asset", "list"),
        ("deployment", "list"),
        ("events",),
        ("worker",),
        ("scoring",),
    ],
)
def test_without_a_kafka_it_says_how_to_get_one(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert "run `baton up` in this folder" in done.output
    done = run("--json", *arguments)
    assert json.loads(done.output)["error"]["code"]


def test_up_says_what_is_set_wrongly_before_it_starts_kafka(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("up", BATON_METRICS_PORT="70000")
    assert done.exit_code
    assert "BATON_METRICS_PORT" in done.output
    assert "starting Kafka" not in done.output


def test_save_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(fitted("binary")[0], "model.joblib")
    frame = pd.DataFrame(X[:5], columns=["x0", "x1", "x2"])
    frame.assign(target=1).to_parquet("rows.parquet")
    done = run(
        "--json", "model", "save", "model.joblib", "--sample", "rows.parquet", "--name", "m 1",
        "--target", "target", "--metric", "auc=0.9", "--tag", "a", "--project", "p",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    manifest = json.loads(done.output)
    assert [field["name"] for field in manifest["input_schema"]["fields"]] == ["x0", "x1", "x2"]
    assert (manifest["metrics"], manifest["tags"]) == ({"auc": 0.9}, ["a"])
    assert (tmp_path / ".baton/models/m_1.json").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("model", "save", "rows.csv", "--sample", "rows.csv", "--name", "m"), 1, "cannot load"),
        (("model", "save", "no.joblib", "--sample", "rows.csv", "--name", "m"), 2, "not exist"),
        (("model", "save", "m.joblib", "--sample", "bad.csv", "--name", "m"), 1, "cannot read"),
        (("model", "save", "m.joblib", "--sample", "rows.csv", "--name", "m", "--metric", "x"),
         2, "NAME=NUMBER"),
        (("model", "save", "m.joblib", "--sample", "rows.csv", "--name", "m", "--target", "z"),
         2, "no column 'z'"),
        (("asset", "promote", "unknown", "--space", "s"), 1, "there is no model unknown"),
        (("asset", "promote", "rows.csv", "--space", "s"), 1, "is no manifest"),
        (("score", "d", "--data", "bad.json"), 1, "bad.json"),
        (("deployment", "replace", "d", "--asset", "a", "--reason", "mood"), 2, "accuracy"),
        (("no-such-noun",), 2, "No such command"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_a_line(arguments, status, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(X[:5], columns=["x0", "x1", "x2"]).to_csv("rows.csv", index=False)
    joblib.dump(fitted("binary")[0], "m.joblib")
    (tmp_path / "bad.csv").write_bytes(b"")
    (tmp_path / "bad.json").write_text("[1")
    done = run(*arguments)
    assert (done.exit_code, told in done.output) == (status, True), done.output
    assert "Traceback" not in done.output
