"""Real processes on a real Kafka, and ways to wait for them and to read what they wrote."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest

from artifacts.save import save_model
from artifacts.store import Store
from artifacts.verify import Verifier
from client import BatonClient, ScoringClient
from client.supervisor import child_environment
from schemas.manifest import Manifest
from tests.unit.models import Evil, fitted
from transport.embedded import EmbeddedKafka, config
from transport.reading import partitions_of, read
from transport.settings import Settings

# Not how long a thing may take, but when it is given up: machines are shared, and some are slow.
DEADLINE_S = 120.0


def until_there(path: Path) -> str:
    """Code for a model: it waits until the test has made ``path``."""
    return f"import pathlib, time\nwhile not pathlib.Path({str(path)!r}).exists(): time.sleep(0.01)"


@contextlib.contextmanager
def little_time(verifier: Verifier, seconds: float) -> Iterator[None]:
    """Give what is verified within the block another limit: for what hangs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(verifier._limits, "time_limit_s", seconds)
        yield


@contextlib.contextmanager
def kafka_with(properties: str, folder: Path) -> Iterator[EmbeddedKafka]:
    """A broker of its own, with more lines in its server.properties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "SERVER", config.SERVER + properties)
        with EmbeddedKafka(folder) as kafka:
            yield kafka


class Process:
    """A worker or a scoring agent, started as people start it."""

    def __init__(self, module: str, settings: Settings, folder: Path, **env: str) -> None:
        name = f"{module}-{uuid.uuid4().hex[:6]}"
        self.ready_file = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module],
                stdout=log,
                stderr=log,
                env=child_environment(settings) | {"BATON_READY_FILE": str(self.ready_file)} | env,
            )

    def ready(self) -> "Process":
        def is_ready() -> bool:
            assert self.popen.poll() is None, self.tail()
            return self.ready_file.exists()

        until(is_ready, f"{self.log.name} is ready", self.tail)
        return self

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        # A process that was paused by its test hears nothing.
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        return self.popen.wait(DEADLINE_S)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def until(condition, what: str, more=lambda: "") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for: {what}\n{more()}"
        time.sleep(0.02)


async def eventually(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for: {what}"
        await asyncio.sleep(0.02)


def new_settings(servers: str, folder: Path) -> Settings:
    name = uuid.uuid4().hex[:8]
    return Settings(
        servers,
        topic_prefix=f"t{name}.",
        store=(str(folder / "store"),),
        app=f"t{name}",
        control_partitions=2,
        data_partitions=2,
    )


async def read_all(settings: Settings, topic) -> list:
    """Every committed record of a topic, partition by partition."""
    where = partitions_of(topic)
    return [record async for record in read(settings.bootstrap_servers, where)]


@dataclass
class Stack:
    """A worker and a scoring agent that run, and clients of them."""

    settings: Settings
    folder: Path
    baton: BatonClient
    scoring: ScoringClient

    def manifest(self, case: str = "binary", **parameters) -> Manifest:
        """Save a model of ``CASES``; with other parameters it is another file."""
        estimator, sample = fitted(case)
        estimator.set_params(**parameters)
        return save_model(estimator, sample, store=Store(self.settings.store), name=case)

    def holding(self, thing: object, case: str = "binary") -> Manifest:
        """The manifest of a good model of ``CASES``, whose file holds ``thing``."""
        path = self.folder / f"{uuid.uuid4().hex}.joblib"
        joblib.dump(thing, path)
        stored = Store(self.settings.store).put(path)
        changes = {"uri": stored.uri, "sha256": stored.sha256, "size": stored.size}
        return self.manifest(case).model_copy(update=changes)

    def running(self, code: str) -> Manifest:
        """The manifest of a good model, whose file runs ``code`` when it is loaded."""
        return self.holding(Evil(code))

    async def deployed(self, *case: str, space: str | None = None) -> tuple[str, str, list[str]]:
        """A space with an asset for each case, the first of them deployed."""
        space = space or f"s{uuid.uuid4().hex[:6]}"
        await self.baton.create_space(space)
        assets = []
        for name in case or ("binary", "binary"):
            asset = f"{name}-{uuid.uuid4().hex[:6]}"
            await self.baton.promote_asset(space, self.manifest(name), asset)
            assets.append(asset)
        created = await self.baton.create_deployment(space, assets[0], "d")
        return space, created.deployment_id, assets
