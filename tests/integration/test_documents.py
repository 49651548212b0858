"""The documents, as a new user follows them: what they tell to run runs, and prints what they say.

One ``baton up`` serves all pages. Each has a folder of its own, but those that go on from another.
"""

import asyncio
import contextlib
import importlib.util
import json
import operator
import os
import re
import shlex
import shutil
import socket
from pathlib import Path
from unittest.mock import patch

import pytest
import skops.io
from click.testing import CliRunner
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from client.cli import main
from client.cli.output import err, out
from tests import snippets
from tests.support import DEADLINE_S, until
from tests.unit.test_imports import mlflow_model

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# The one place that says what is not run, by how it begins, and why.
NOT_RUN = {
    "make ": "a target of its own: .ci/run and test_up.py have them",
    "pip install ": "CI installs what is locked, and nothing else",
    "OTEL_EXPORTER_OTLP_ENDPOINT=": "there is no collector; test_tracing.py has one",
}
# Run by another test.
ELSEWHERE = {"clients.md": "test_clients_contract.py"}
# Pages that go on in the folder where the one before them ends; the rest begin with nothing.
TOGETHER = (("tutorial.md", "howto-replace.md", "howto-audit.md"),)
# Whose outputs are all there, line by line.
EXACT = "tutorial.md"
# Has models and traffic, and shows what lists are made of: others' are in them, too.
REFERENCE = "cli.md"
CONSOLE = "http://127.0.0.1:8470"
METRICS_PORT = "9464"
# Those that listen until they are stopped are given so long, in seconds, and end with this status.
STREAM_S = 1
STREAM_ENDED = 28
NO_CURL = shutil.which("curl") is None
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

spec = importlib.util.spec_from_file_location("record", DOCS / "record.py")
record = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)


def pages():
    """Return the pages in groups; one that is new is a group."""
    rest = {path.name for path in DOCS.glob("*.md")} - {
        name for group in TOGETHER for name in group
    }
    alone = [(name,) for name in sorted(rest - set(ELSEWHERE))]
    return [*TOGETHER, *alone, ("../README.md",), ("../CONTRIBUTING.md",)]


def examples(page):
    return list(snippets.examples((DOCS / page).read_text()))


class Shell(record.Lab):
    """A shell in a folder. ``baton`` runs in this process: a new one takes a second to import."""

    def __init__(self, folder, environment, *, given=False):
        super().__init__(folder, given=given)
        self.environment |= environment
        self.names = {}

    def execute(self, line):
        words = shlex.split(line, comments=True)
        if words[0] == "baton" and not re.search(r"[|<>&]|\$\(", line):
            with self.here(), terminal():
                done = CliRunner().invoke(main, words[1:])
            self.status = done.exit_code
            return done.output
        if words[:2] == ["python", "-c"]:
            self.status = 0
            return self.python(words[2])
        return super().execute(line)

    def python(self, source):
        with self.here():
            return asyncio.run(snippets.run(source, self.names))

    @contextlib.contextmanager
    def here(self):
        with contextlib.chdir(self.folder), patch.dict(os.environ, self.environment, clear=True):
            yield


@contextlib.contextmanager
def terminal():
    """As wide as the one that the pages were recorded on: ``baton`` looks once, when it starts."""
    before = [(console, console.width) for console in (out, err)]
    for console, _ in before:
        console.width = record.TERMINAL
    yield
    for console, width in before:
        console.width = width


class Reader:
    """Follows pages in ``shell``, and knows what an ID or an address on them is here."""

    def __init__(self, shell, store, known):
        self.shell = shell
        self.store = store
        self.known = known

    def follow(self, example, *, exact):
        source = example.source
        for shown, here in self.known.items():
            source = source.replace(shown, here)
        if example.is_python:
            self.shell.python(source)
        elif source.partition("#")[0].strip() == "baton up":
            # It runs: one for all pages. What a service says of its start hangs on the machine.
            if self.shell.given:
                self.shell.python(record.STRAY)
        elif source.startswith("curl"):
            self.ask(as_asked(source), example)
        else:
            lines = record.as_shown(self.shell, self.run(source, example))
            if exact:
                assert gist(record.cut(lines)) == gist(example.shown), source
            else:
                compare_lines(gist(example.shown), gist(lines))

    def run(self, source, example):
        printed = self.shell.run(source)
        assert self.shell.status == told_status(example), f"{source}\n{printed}"
        came = UUID.findall(printed)
        for named, here in zip(UUID.findall("\n".join(example.shown)), came, strict=False):
            self.known.setdefault(named, here)
        return printed.replace(self.store, "/home/ana/lab/.baton/store")

    def ask(self, source, example):
        """Run a request and compare its answer; what becomes of a command is asked again."""
        shown = "\n".join(example.shown)

        def told():
            printed = self.run(source, example)
            right = answers(shown, printed)
            assert right or "/api/commands/" in source, f"{source}\n{printed}\nis not\n{shown}"
            return right

        until(told, source)


def as_asked(source):
    """A request that fails ends with a status, and one that never ends is given its time."""
    if source.startswith("curl -sN"):
        return source.replace("curl", f"curl --max-time {STREAM_S}", 1)
    if "-si" in source:
        return source.replace("curl", f"curl --max-time {DEADLINE_S:.0f}", 1)
    return source.replace("curl", f"curl --fail-with-body --max-time {DEADLINE_S:.0f}", 1)


def told_status(example):
    """The exit status that the page tells of."""
    if example.source.startswith("curl -sN"):
        return STREAM_ENDED
    refused = ("error:", "command-rejected:")
    return int(any(line.startswith(refused) for line in example.shown))


def gist(lines):
    """What does not hang on the run: no ids, figures, digests, nor how wide the columns are."""
    text = "\n".join(lines)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{2,12}( …|…)?", "ID", text)
    text = re.sub(r"/\w\w/([0-9a-f]{64}|\w\w…)", "/DIGEST", text)
    text = re.sub(r"\b[0-9a-f]{30,64}\b", "DIGEST", text)
    text = re.sub(r"[-+]?\d[\d.,:TZ-]*(e-?\d+)?", "N", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def compare_lines(shown, printed):
    """Each line that is shown is among what was printed, up to where it is cut."""
    for line in shown:
        kept = line.partition("…")[0].strip()
        assert any(one.startswith(kept) for one in printed), f"{line}\nis not in\n{printed}"


def answers(shown, printed):
    """Whether an answer has the status, headers and members of the JSON that are shown."""
    head, body = parted(shown)
    came, answer = parted(printed)
    names, given = ({line.partition(":")[0] for line in lines} for lines in (head, came))
    if head[:1] != came[:1] or not names <= given:
        return False
    if not body.startswith("{"):
        return True
    return alike(json.loads(re.sub(r",?\s*…", "", body)), json.loads(answer))


def parted(text):
    """The lines of an answer's head, where it is there, and its body in one line."""
    lines = text.replace("\r", "").split("\n")
    cut = lines.index("") if text.startswith("HTTP/") else 0
    return lines[:cut], " ".join(lines[cut:]).strip()


def alike(shown, found):
    """Whether two documents have the same members, at every depth; of a list its first item."""
    if isinstance(shown, dict) and shown:
        return set(shown) == set(found) and all(alike(shown[name], found[name]) for name in shown)
    if isinstance(shown, list) and shown and found:
        return alike(shown[0], found[0])
    return type(shown) is type(found) or not isinstance(shown, dict | list)


def found_elsewhere(folder):
    """What other programs have made that models.md imports."""
    rows, kinds = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=1000)
    inputs = json.dumps([{"type": "double", "name": name, "required": True} for name in rows])
    mlflow_model(folder / "mlruns" / "iris", model.fit(rows, kinds), inputs)
    odd = make_pipeline(FunctionTransformer(operator.methodcaller("abs")), model)
    skops.io.dump(odd.fit(rows, kinds), folder / "odd.skops")


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A shell in the folder of ``baton up``."""
    lab = Shell(tmp_path_factory.mktemp("lab"), {})
    try:
        lab.run("baton up")
        yield lab
    finally:
        lab.stop()


@pytest.mark.parametrize("group", pages(), ids=" ".join)
def test_what_a_page_tells_to_run_runs(group, up, tmp_path):
    address = json.loads((up.folder / record.UP).read_text())
    store = str(up.folder / ".baton" / "store")
    if EXACT in group:
        shell = up
    else:
        where = {"BATON_BOOTSTRAP_SERVERS": address["bootstrap_servers"], "BATON_STORE": store}
        shell = Shell(tmp_path, where, given=REFERENCE in group)
        if REFERENCE in group:
            (tmp_path / ".baton").mkdir()
            shutil.copy(up.folder / record.UP, tmp_path / record.UP)
    known = {CONSOLE: address["console"].rstrip("/"), METRICS_PORT: str(free_port())}
    reader = Reader(shell, store, known)
    if "models.md" in group:
        found_elsewhere(tmp_path)
    left_out = 0
    try:
        for page in group:
            for example in examples(page):
                if NO_CURL and example.source.startswith("curl"):
                    left_out += 1
                elif not example.source.startswith(tuple(NOT_RUN)):
                    reader.follow(example, exact=page == EXACT)
    finally:
        if shell is not up:
            shell.stop()
    if left_out:
        pytest.skip(f"no curl here: {left_out} requests were not made; the rest was run")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_every_mark_is_still_of_use():
    every = [example.source for group in pages() for page in group for example in examples(page)]
    for mark in NOT_RUN:
        assert any(source.startswith(mark) for source in every), mark
    assert set(ELSEWHERE) <= {path.name for path in DOCS.glob("*.md")}


@pytest.mark.parametrize("page", record.PAGES)
def test_every_example_of_a_page_has_its_output(page):
    for example in examples(page):
        silent = example.source.startswith(("baton completion", "python")) or ">" in example.source
        assert example.shown or silent, example.source
