"""Run every example of a page against services of its own, and write what it printed below it.

    python docs/record.py             # cli.md and tutorial.md
    python docs/record.py cli.md

It needs nothing but the development environment; it takes a minute or two each.
"""

import getpass
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).parents[1]
PAGES = ("cli.md", "tutorial.md")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# They serve until they are stopped: shown is what they print until they are ready.
SERVICES = ("up", "worker", "scoring")
READY_S = 120.0
TERMINAL = 110
UP = Path(".baton/up.json")
SETTING = re.compile(r"[A-Z_]+=")
# A longer answer of a machine's form is cut.
WIDTH = 160
COLUMNS = ["mean radius", "mean texture", "mean smoothness"]


ACTOR = f"{getpass.getuser()}@{socket.gethostname()}"

# Sends what is no command: a dead letter.
STRAY = """
import asyncio, json, pathlib
from aiokafka import AIOKafkaProducer

address = json.loads(pathlib.Path(".baton/up.json").read_text())

async def main():
    producer = AIOKafkaProducer(bootstrap_servers=address["bootstrap_servers"])
    await producer.start()
    headers = [("ce_type", b"surprise")]
    value = b'{"not": "a command"}'
    await producer.send_and_wait("baton.commands", value, key=b"fraud", headers=headers)
    await producer.stop()

asyncio.run(main())
"""

# Some traffic, for whoever watches.
TRAFFIC = """
import asyncio, itertools, json, pathlib
from client import BatonClient, ScoringClient, ScoringError
from transport.settings import Settings

address = json.loads(pathlib.Path(".baton/up.json").read_text())

async def main():
    settings = Settings(address["bootstrap_servers"])
    async with BatonClient(settings) as baton, ScoringClient(settings) as scoring:
        (found,) = await baton.deployments("fraud")
        for number in itertools.count():
            row = [14.1, 19.3, 0.1] if number % 50 else ["wide", 19.3, 0.1]
            try:
                await scoring.score(found.deployment_id, [row])
            except ScoringError:
                pass
            pathlib.Path("traffic").touch()

asyncio.run(main())
"""


class Lab:
    """A folder, with models and rows in it where they are ``given``, and what runs there."""

    def __init__(self, folder: Path, *, given: bool) -> None:
        self.folder = folder
        self.given = given
        self.running: list[subprocess.Popen[bytes]] = []
        self.traffic: subprocess.Popen[bytes] | None = None
        self.environment = {n: t for n, t in os.environ.items() if not n.startswith("BATON_")} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": str(TERMINAL),
        }
        self.status = 0
        if given:
            self._give()

    def _give(self) -> None:
        folder = self.folder
        data, target = load_breast_cancer(return_X_y=True, as_frame=True)
        rows = data[COLUMNS].round(4)
        rows.head(5).to_csv(folder / "rows.csv", index=False)
        rows[COLUMNS[:2]].head(5).to_csv(folder / "other.csv", index=False)
        wrong = rows.astype(object)
        wrong.loc[3, "mean radius"] = "wide"
        wrong.assign(id=[f"case-{n}" for n in wrong.index]).to_csv(folder / "data.csv", index=False)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        joblib.dump(model.fit(rows, target), folder / "one.joblib")
        forest = RandomForestClassifier(10, random_state=0)
        joblib.dump(forest.fit(rows, target), folder / "two.joblib")
        joblib.dump(model.fit(rows[COLUMNS[:2]], target), folder / "three.joblib")

    def run(self, line: str) -> str:
        """Run a line as a shell would, and return what it printed."""
        words = shlex.split(line, comments=True)
        given = [word for word in words[:1] if SETTING.match(word)]
        words = words[len(given) :]
        if words[0] == "baton" and words[1] in SERVICES:
            return self.serve(words[1], dict(word.split("=", 1) for word in given))
        if words[:2] == ["baton", "watch"] and not self.traffic:
            self.traffic = self.script(TRAFFIC)
            self._wait((self.folder / "traffic").exists)
        return self.execute(line)

    def execute(self, line: str) -> str:
        """Run a line in a shell; ``status`` is how it ended."""
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.status = done.returncode
        return done.stdout

    def serve(self, name: str, given: Mapping[str, str] | None = None) -> str:
        """Start a service and return what it printed until it was ready."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            self.running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "client.cli", name],
                    cwd=self.folder,
                    env=self.environment | dict(given or {}),
                    stdout=file,
                    stderr=file,
                )
            )
        self._wait(lambda: "ready" in log.read_text())
        if name == "up" and self.given:
            self.script(STRAY).wait()
        return log.read_text()

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)

    def script(self, text: str) -> "subprocess.Popen[bytes]":
        """Start a script in the folder."""
        command = [sys.executable, "-c", text]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment)

    def stop(self) -> None:
        """Stop what runs, the last one first."""
        if self.traffic is not None:
            self.traffic.kill()
            self.traffic.wait()
        for process in reversed(self.running):
            process.terminate()
            process.wait(60)


def recorded(lab: Lab, block: str) -> str:
    """Return the block's lines, each with what it printed."""
    found = []
    for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        shown = [f"$ {line}", *cut(as_shown(lab, lab.run(line)))]
        print("\n".join(shown))
        found += shown
    return "\n".join(found)


def as_shown(lab: Lab, printed: str) -> list[str]:
    """Return the lines as a page has them, on nobody's machine."""
    text = printed.replace(str(lab.folder), "/home/ana/lab").replace(ACTOR, "ana@clinic")
    return [line.rstrip() for line in text.rstrip().splitlines()]


def cut(lines: list[str]) -> list[str]:
    """Return the lines, none of them too long for a page."""
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 2]} …" for line in lines]


def record(page: Path) -> str:
    """Return the page with what its examples print now."""
    with tempfile.TemporaryDirectory() as folder:
        # The tutorial begins with nothing.
        lab = Lab(Path(folder), given=page.name != "tutorial.md")
        try:
            return BLOCK.sub(
                lambda found: f"```console\n{recorded(lab, found[1])}\n```", page.read_text()
            )
        finally:
            lab.stop()


def main() -> None:
    """Record the pages that are named, by default all."""
    for name in sys.argv[1:] or PAGES:
        page = ROOT / "docs" / name
        page.write_text(record(page))


if __name__ == "__main__":
    main()
