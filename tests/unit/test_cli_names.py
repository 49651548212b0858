"""Formats, names, completion and examples of the ``baton`` command, without a broker."""

import json
import logging
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from client.cli import Command, main
from client.cli.names import AmbiguousNameError, find_asset, find_deployment
from schemas.errors import BatonError
from tests.unit.test_cli import COMMANDS, run

LEAVES = {path: c for path, c in COMMANDS.items() if not hasattr(c, "commands")}
DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    line
    for page in DOCS.glob("*.md")
    for line in re.findall(r"(?:^\$ |^    |`)(baton \w[^`\n]*)", page.read_text(), re.MULTILINE)
]


def parsed(line):
    """Parse a line as a shell and then click would, running nothing; the command's path."""
    line = re.sub(r"\s+(#|\||>|&&|2>).*$", "", line)
    _, *words = shlex.split(line)
    command, context, path = main, click.Context(main, info_name="baton"), []
    while hasattr(command, "commands"):
        _, words, _ = command.make_parser(context).parse_args(words)
        name, *words = words
        command, path = command.commands[name], [*path, name]
        context = click.Context(command, parent=context, info_name=name)
    command.make_parser(context).parse_args(list(words))
    return tuple(path)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_an_example_that_it_accepts(path):
    help_ = LEAVES[path].help
    lines = re.findall(r"^(?:Example: |  )(baton .*)$", help_, re.MULTILINE)
    assert lines, help_
    for line in lines:
        assert parsed(line) == path


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_an_example_in_the_documents(path):
    # In the reference, or where the how-to guides tell of it.
    assert path in {documented(line) for line in EXAMPLES}


def documented(line):
    """The command of an example; None of a line that is none, as `baton NOUN VERB`."""
    try:
        return parsed(line)
    except (KeyError, ValueError, click.UsageError):
        return None


@pytest.mark.parametrize(
    "line", re.findall(r"^\$ (baton .*)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
)
def test_every_line_of_the_reference_is_one_that_baton_takes(line):
    assert parsed(line) in LEAVES


def test_every_example_of_the_reference_has_its_real_output():
    page = (DOCS / "cli.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        # What prints nothing writes a file.
        assert [line for line in block.splitlines() if not line.startswith("$ ")] or ">" in block


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "json", "space", "list"),
        ("--json", "space", "list"),
        ("space", "list", "-o", "json"),
        ("space", "list", "--json"),
        ("-o", "yaml", "space", "list", "-o", "json"),
    ],
)
def test_the_format_may_stand_before_or_after_and_the_latter_wins(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert json.loads(done.output)["error"]["code"] == "invalid_settings"
    assert done.exit_code == 2


def test_yaml_is_one_document(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("space", "list", "-o", "yaml")
    assert yaml.safe_load(done.output)["error"]["code"] == "invalid_settings"


def test_an_option_of_a_command_s_own_keeps_its_name():
    @click.command(cls=Command)
    @click.option("-o", "--output", "goal")
    @click.pass_obj
    def keep(options, goal):
        click.echo(f"{goal} {options.format}")

    done = CliRunner().invoke(keep, ["-o", "file", "--json"])
    assert done.output == "file json\n"


def test_what_nobody_foresaw_is_one_line_and_status_70(monkeypatch):
    def broken(_options, _work):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("client.cli.space.connected", broken)
    done = run("space", "list")
    assert (done.exit_code, "Traceback" in done.output) == (70, False)
    assert "a defect of Baton: ZeroDivisionError: by nothing" in done.output
    assert "Traceback" in run("space", "list", BATON_LOG_LEVEL="DEBUG").output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell):
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_BATON_COMPLETE" in done.output
    assert shell in done.output


def completed(words, incomplete):
    found = ShellComplete(main, {}, "baton", "_BATON_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def test_commands_and_choices_complete_and_names_do_not_without_a_kafka(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATON_BOOTSTRAP_SERVERS", raising=False)
    assert completed(["deployment"], "r") == ["replace", "rollback"]
    assert completed(["audit", "--event"], "deployment-u") == ["deployment-updated"]
    assert completed(["audit", "-o"], "y") == ["yaml"]
    assert completed(["deployment", "show"], "") == []
    assert completed(["audit", "--space"], "s") == []
    # A process that completes ends with it; this one goes on.
    logging.disable(logging.NOTSET)


class Directory:
    """What a StateReader answers from, in memory."""

    def __init__(self, *records):
        self.records = [
            SimpleNamespace(
                deployment_id=identity,
                asset_id=identity,
                name=name,
                space_id=space,
                created_at="then",
                manifest=SimpleNamespace(name=name),
            )
            for identity, name, space in records
        ]

    async def deployment(self, identity):
        return next((r for r in self.records if r.deployment_id == identity), None)

    async def deployments(self, space_id=None):
        return [r for r in self.records if space_id in {None, r.space_id}]

    assets = deployments


KNOWN = Directory(("1", "a", "s"), ("2", "a", "t"), ("3", "b", "s"), ("a", "c", "s"))


@pytest.mark.parametrize(
    ("named", "space", "found"),
    [("1", None, "1"), ("b", None, "3"), ("a", "t", "2"), ("c", "s", "a"), ("a", None, "a")],
)
async def test_a_deployment_is_found_by_its_id_or_else_its_name(named, space, found):
    assert (await find_deployment(KNOWN, named, space)).deployment_id == found


async def test_an_ambiguous_name_is_an_error_that_lists_the_ids():
    known = Directory(("1", "a", "s"), ("2", "a", "t"))
    with pytest.raises(AmbiguousNameError, match=r"2 deployments are named a(?s:.*)1(?s:.*)2"):
        await find_deployment(known, "a")
    with pytest.raises(AmbiguousNameError, match="2 assets are named a"):
        await find_asset(Directory(("1", "a", "s"), ("2", "a", "s")), "a", "s")


async def test_what_nobody_knows_is_told_or_left_to_the_worker():
    with pytest.raises(BatonError, match="there is no deployment x in space s"):
        await find_deployment(KNOWN, "x", "s")
    # The worker refuses an unknown asset, and that is in the audit log.
    assert await find_asset(KNOWN, "x", "s") == "x"
    assert await find_asset(KNOWN, "b", "s") == "3"
