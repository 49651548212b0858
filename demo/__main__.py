"""Run the lab on an embedded Kafka with a real worker and a real scoring agent."""

import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape

from artifacts.save import save_model
from artifacts.store import Store
from client import (
    AuditEvent,
    BatonClient,
    CommandRejected,
    Outcome,
    ScoringClient,
    UpdateFailed,
    events,
)
from client.supervisor import CONSOLE, Supervisor, started_by
from demo import lab
from demo.show import DemoError, Show
from demo.traffic import Traffic, answers
from schemas.checks import Check
from schemas.errors import BatonError
from schemas.manifest import Manifest
from transport.embedded import EmbeddedKafka
from transport.settings import Settings

SPACE = "clinic"
PROJECT = "breast-cancer-lab"
RATE = 500
SAMPLE_ROWS = 4
# How long after the notification an answer still counts as "during" the replace.
AFTERGLOW_S = 1.0
ROUNDING = 1e-9
UUID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class Stage:
    """What the whole demo shares."""

    show: Show
    settings: Settings
    store: Store
    baton: BatonClient
    scoring: ScoringClient
    data: lab.Data

    @property
    def payload(self) -> pd.DataFrame:
        """The sample payload: a few patients the models have not seen."""
        return self.data.test.head(SAMPLE_ROWS)

    def save(self, entry: lab.Entry, name: str, frame: pd.DataFrame) -> Manifest:
        """Fit the pipeline on ``frame`` and save it as a model of the project."""
        return save_model(
            entry.estimator.fit(frame, self.data.train_target),
            frame.sample(5, random_state=lab.SEED),
            store=self.store,
            name=name,
            description=entry.name,
            tags=("demo",),
            metrics={metric: round(value, 4) for metric, value in entry.metrics.items()},
            project_id=PROJECT,
        )

    async def promoted(self, manifest: Manifest) -> str:
        """Promote a model into the space and return its asset ID."""
        outcome = await self.baton.promote_asset(SPACE, manifest, asset_id=manifest.name)
        self.show.say(f"promoted into space {SPACE} as asset [bold]{outcome.asset_id}[/]")
        return outcome.asset_id

    async def probabilities(self, deployment_id: str) -> tuple[int, str, list[float]]:
        """Score the payload: revision, asset and each patient's probability of class 1."""
        result = await self.scoring.score(
            deployment_id, self.payload.to_numpy().tolist(), fields=list(self.payload.columns)
        )
        return result.revision, result.asset_id, [row[1][1] for row in result.values]  # noqa: PD011 - an answer's

    def probability_table(self, columns: dict[str, Sequence[float]]) -> None:
        """Show the payload's probabilities side by side."""
        rows = [
            (f"patient {index}", *(values[place] for values in columns.values()))
            for place, index in enumerate(self.payload.index)
        ]
        self.show.table(("P(benign)", *columns), rows)

    def checks(self, checks: Sequence[Check]) -> None:
        """Show the failed checks."""
        failed = [
            (check.name, _short(check.expected), _short(check.actual), check.hint)
            for check in checks
            if not check.passed
        ]
        self.show.table(("check", "expected", "actual", "hint"), failed)


async def story(show: Show, settings: Settings) -> None:
    """Play the lab."""
    data = lab.load()
    entries = _leaderboard(show, data)
    best, second, third, *_ = entries
    store = Store(settings.store)

    def progress(event: AuditEvent) -> None:
        data = event.data
        if data.before and data.after:
            show.say(
                f"[yellow]{data.status}[/]: {data.before.asset_id} → {data.after.asset_id} "
                "is being verified, the old asset serves"
            )

    async with (
        BatonClient(settings, source="/demo", actor="ana@clinic", on_progress=progress) as baton,
        ScoringClient(settings) as scoring,
    ):
        stage = Stage(show, settings, store, baton, scoring, data)
        first_asset, deployment_id = await _deploy(stage, best)
        traffic = Traffic(
            scoring,
            deployment_id,
            list(data.test.columns),
            data.test.to_numpy().tolist(),
            RATE,
            floor=1,
        )
        show.step(f"A streaming client sends {RATE} requests a second, exactly once")
        traffic.start()
        await traffic.until_answered(2 * RATE)
        show.say(f"{traffic.answered} answered so far; it goes on through all that follows")
        _, _, old = await stage.probabilities(deployment_id)
        show.say("the sample payload, scored:")
        stage.probability_table({first_asset: old})
        window = await _replace(stage, traffic, second, deployment_id, old)
        await _refuse_schema(stage, best, deployment_id)
        await _refuse_corrupted(stage, traffic, third, deployment_id)
        await _roll_back(stage, traffic, deployment_id, first_asset, old)
        await traffic.until_answered(2 * RATE)
        await traffic.stop()
        await _account(stage, traffic, window)
        await _audit(stage)


def _leaderboard(show: Show, data: lab.Data) -> list[lab.Entry]:
    show.step(f"Train pipelines on {len(data.train)} patients, {lab.FOLDS}-fold cross-validation")
    entries = []
    for name in lab.PIPELINES:
        with show.waiting(f"cross-validating {name}"):
            entries.append(lab.cross_validated(name, data))
    entries.sort(key=lambda entry: -entry.metrics["roc_auc"])
    show.table(
        ("rank", "pipeline", "ROC AUC", "accuracy", "log loss", "seconds"),
        [
            (rank, entry.name, *entry.metrics.values(), entry.seconds)
            for rank, entry in enumerate(entries, 1)
        ],
    )
    return entries


async def _deploy(stage: Stage, best: lab.Entry) -> tuple[str, str]:
    show = stage.show
    show.step("Save the best as a model, promote it into a space, deploy it")
    manifest = stage.save(best, "pipeline-1", stage.data.train)
    size = (manifest.size or 0) / 1024
    show.say(f"saved in project {PROJECT}: {best.name}, {size:.1f} KiB, {manifest.sha256[:12]}…")
    await stage.baton.create_space(SPACE, "Clinic")
    asset_id = await stage.promoted(manifest)
    created = await stage.baton.create_deployment(SPACE, asset_id, "tumour-check")
    show.say(f"deployment ID [bold magenta]{created.deployment_id}[/], revision {created.revision}")
    return asset_id, created.deployment_id


async def _replace(
    stage: Stage, traffic: Traffic, second: lab.Entry, deployment_id: str, old: list[float]
) -> tuple[float, float]:
    show, baton = stage.show, stage.baton
    show.step("Replace its asset by a second pipeline, under load")
    manifest = await asyncio.to_thread(stage.save, second, "pipeline-2", stage.data.train)
    asset_id = await stage.promoted(manifest)
    await traffic.until_answered(RATE)
    begun = time.monotonic()
    outcome = await baton.replace_asset(
        SPACE, deployment_id, asset_id, expected_revision=1, reason="accuracy", comment=second.name
    )
    done = time.monotonic()
    _announce(show, outcome, done - begun)
    traffic.floor = outcome.revision
    revision, serving, new = await stage.probabilities(deployment_id)
    record = await baton.deployment(deployment_id)
    show.claim(
        "same deployment ID, new asset, revision 2",
        holds=(revision, serving) == (2, asset_id)
        and outcome.deployment_id == deployment_id
        and record is not None
        and (record.status, record.revision) == ("deployed", 2),
    )
    stage.probability_table({"pipeline-1": old, asset_id: new})
    show.claim(
        "the sample payload gets other probabilities", holds=not np.allclose(old, new, atol=1e-4)
    )
    await traffic.until_answered(2 * RATE)
    return begun, done + AFTERGLOW_S


async def _refuse_schema(stage: Stage, best: lab.Entry, deployment_id: str) -> None:
    show = stage.show
    show.step("Try an asset whose input schema differs")
    frame = lab.other_schema(stage.data.train)
    asset_id = await stage.promoted(
        await asyncio.to_thread(stage.save, best, "other-laboratory", frame)
    )
    try:
        await stage.baton.replace_asset(SPACE, deployment_id, asset_id, reason="data_drift")
    except CommandRejected as refusal:
        show.say(f"[red]{refusal.event.name}[/] {refusal.rejection}: {escape(refusal.message)}")
        stage.checks(refusal.checks)
        show.claim(
            "refused with a report that names each field",
            holds=refusal.rejection == "schema_mismatch"
            and {"mean radius", "radius_mean", "mean area", "worst symmetry"}
            <= {check.name.removeprefix("input_schema:") for check in refusal.checks},
        )
    else:
        raise DemoError("an asset with another input schema was accepted")


async def _refuse_corrupted(
    stage: Stage, traffic: Traffic, third: lab.Entry, deployment_id: str
) -> None:
    show = stage.show
    show.step("Try an asset whose file was corrupted after it was saved")
    manifest = await asyncio.to_thread(stage.save, third, "damaged", stage.data.train)
    _flip_a_byte(Path(manifest.uri))
    asset_id = await stage.promoted(manifest)
    try:
        await stage.baton.replace_asset(SPACE, deployment_id, asset_id, reason="accuracy")
    except UpdateFailed as failure:
        show.say(f"[red]{failure.event.name}[/] {failure}")
        stage.checks(failure.checks)
        failed = {check.name for check in failure.checks if not check.passed}
    else:
        raise DemoError("a corrupted file was accepted")
    await traffic.until_answered(RATE)
    revision, serving, _ = await stage.probabilities(deployment_id)
    show.claim(
        "refused by the verification; pipeline-2 still serves",
        holds=failed == {"digest"} and (revision, serving) == (2, "pipeline-2"),
    )


async def _roll_back(
    stage: Stage, traffic: Traffic, deployment_id: str, first_asset: str, old: list[float]
) -> None:
    show = stage.show
    show.step("Roll back")
    begun = time.monotonic()
    outcome = await stage.baton.rollback_deployment(
        SPACE, deployment_id, expected_revision=2, reason="errors", comment="second thoughts"
    )
    _announce(show, outcome, time.monotonic() - begun)
    traffic.floor = outcome.revision
    revision, serving, now = await stage.probabilities(deployment_id)
    show.claim(
        f"{first_asset} serves again, as revision 3, with its probabilities",
        holds=(revision, serving) == (3, first_asset) and np.allclose(old, now, atol=ROUNDING),
    )


async def _account(stage: Stage, traffic: Traffic, window: tuple[float, float]) -> None:
    show = stage.show
    show.step("Stop the client and count")
    counted = await answers(stage.settings)
    sent = len(traffic.ledger)
    lost = sum(request_id not in counted for request_id in traffic.ledger)
    twice = sum(counted[request_id] > 1 for request_id in traffic.ledger)
    errors = [entry.error for entry in traffic.ledger.values() if entry.error is not None]
    stale = traffic.stale()
    show.table(
        ("sent", "answered", "lost", "twice", "stale", "errors"),
        [(sent, traffic.answered, lost, twice, stale, len(errors))],
    )
    revisions = traffic.revisions()
    show.table(
        ("revision", "asset", "answers"),
        [
            (revision, "pipeline-2" if revision == 2 else "pipeline-1", revisions[revision])  # noqa: PLR2004 - the second
            for revision in sorted(revisions)
        ],
    )
    begin, end = window
    parts = {
        "before": (0.0, begin),
        "during": (begin, end),
        "after": (end, float("inf")),
    }
    show.table(
        ("the replace", "requests", "p50 ms", "p99 ms"),
        [(name, *traffic.latencies_ms(*part)) for name, part in parts.items()],
    )
    show.claim(
        f"{sent} sent, {sent} answered, lost 0, twice 0, stale 0, errors 0",
        holds=sent == traffic.answered and not (lost or twice or stale or errors),
    )
    show.claim("each revision answered requests", holds=set(revisions) == {1, 2, 3})


async def _audit(stage: Stage) -> None:
    show = stage.show
    show.step("The audit log: who did what, and why")
    log = [event async for event in events(stage.settings)]
    show.table(
        ("seq", "event", "subject", "what", "by"),
        [
            (
                event.sequence,
                event.name,
                _brief(event.attributes.get("subject", "")),
                _what(event),
                event.data.actor,
            )
            for event in log
        ],
    )
    names = [event.name for event in log]
    expected = {
        "space-created": 1,
        "asset-promoted": 4,
        "update-started": 4,
        "deployment-created": 1,
        "deployment-updated": 1,
        "command-rejected": 1,
        "update-failed": 1,
        "deployment-rolled-back": 1,
    }
    show.claim(
        "every command has its events, numbered without a gap",
        holds={name: names.count(name) for name in names} == expected
        and [event.sequence for event in log] == list(range(1, len(log) + 1)),
    )


def _announce(show: Show, outcome: Outcome, seconds: float) -> None:
    data = outcome.event.data
    show.say(
        f"[green]{data.status}[/]: notification {outcome.name}, revision {outcome.revision}, "
        f"{seconds:.2f} s after the command"
    )


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _brief(subject: str) -> str:
    """Shorten the UUID in a subject."""
    kind, _, identity = subject.partition("/")
    return f"{kind}/{identity[:8]}…" if len(identity) == UUID_LENGTH else subject


def _what(event: AuditEvent) -> str:
    data = event.data
    parts = [
        f"{data.before.asset_id} → {data.after.asset_id}" if data.before and data.after else "",
        f"rev {data.revision}" if data.revision is not None else "",
        data.code or "",
        data.reason or "",
    ]
    return ", ".join(filter(None, parts))


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = "" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"  # noqa: PLR2004 - a column


@contextmanager
def services(show: Show, folder: Path) -> Iterator[Settings]:
    """Run Kafka, a worker and a scoring agent; the settings to reach them."""
    show.step("Start Apache Kafka, a worker and a scoring agent")
    begun = time.monotonic()
    with show.waiting("starting"), EmbeddedKafka(folder / "kafka", progress=show.progress) as kafka:
        show.say(f"Kafka answers after {time.monotonic() - begun:.1f} s")
        settings = Settings(kafka.bootstrap_servers, store=(str(folder / "store"),))
        supervisor = Supervisor(settings, folder / "logs", show.progress)
        try:
            supervisor.start()
            supervisor.wait_until_ready(threading.Event())
            show.say(
                f"ready after {time.monotonic() - begun:.1f} s, at {settings.bootstrap_servers}"
            )
            yield settings
        finally:
            supervisor.stop()


def main() -> int:
    """Run the demo; 0 where each claim holds."""
    # SIGTERM ends it as Ctrl-C does: services first, then Kafka.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = Show()
    begun = time.monotonic()
    show.console.print("[bold]Baton[/]: a live deployment changes its model under load")
    with tempfile.TemporaryDirectory(prefix="baton-demo-") as folder:
        try:
            with services(show, Path(folder)) as settings:
                asyncio.run(story(show, settings))
                show.console.print(
                    f"\n[green bold]All {show.proved} claims hold[/], "
                    f"after {time.monotonic() - begun:.0f} s."
                )
                if os.environ.get("KEEP"):
                    _keep(show, settings, Path(folder))
        except (DemoError, BatonError, TimeoutError) as error:
            what = "✗ not so" if isinstance(error, DemoError) else "error"
            show.console.print(f"\n[red bold]{what}:[/] {escape(str(error))}", soft_wrap=True)
            _logs(show, Path(folder) / "logs")
            return 1
        except KeyboardInterrupt:
            show.console.print("\nstopped")
            return 130
    return 0


def _keep(show: Show, settings: Settings, folder: Path) -> None:
    """Leave everything running, with the console beside it, until Ctrl-C."""
    console = Supervisor(
        settings,
        folder / "logs",
        show.progress,
        started_by([CONSOLE]),
        # Any free port: another console may run here.
        {"BATON_CONSOLE_PORT": "0"},
    )
    try:
        console.start()
        console.wait_until_ready(threading.Event())
        show.console.print(
            f"\nLeft running until Ctrl-C. The console, with this deployment in it: "
            f"{console.ready_text(CONSOLE)}\nOr in another terminal:\n"
            f"  export BATON_BOOTSTRAP_SERVERS={settings.bootstrap_servers} "
            f"BATON_STORE={settings.store[0]}\n"
            "  .venv/bin/baton deployment list",
            soft_wrap=True,
        )
        threading.Event().wait()
    finally:
        console.stop()


def _logs(show: Show, folder: Path) -> None:
    for path in sorted(folder.glob("*.log")):
        tail = path.read_text(errors="replace").splitlines()[-10:]
        show.console.print(f"\nend of {path.name}:")
        show.console.print("\n".join(tail), markup=False)


if __name__ == "__main__":
    sys.exit(main())
