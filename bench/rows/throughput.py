"""Rows 1-3: requests scored a second, against what people would use instead and the ceiling.

All requests wait in the topic before a contestant starts; rounds are interleaved.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import models
from bench.figures import steady_rate
from bench.payloads import KINDS, Payload, stream
from bench.peers import PEERS, prepare, request, running
from bench.rig import Answers, Rig, answers, appear, fill, remove, service
from bench.seed import seeded
from transport.admin import ensure_topics
from transport.settings import Settings

BATON = "baton"
# By model: each contestant's requests, so many that a run takes 3-8 s.
COUNTS = {
    "logistic": {
        BATON: 400_000,
        "confluent": 400_000,
        "kstreams": 160_000,
        "faust": 12_000,
        "quix": 10_000,
        "mlserver": 2_000,
        "ceiling": 400_000,
    },
    # No row asks about the forest: the nearest ones are enough to see what a heavier model changes.
    "forest": {BATON: 320_000, "confluent": 320_000, "kstreams": 80_000},
}
# At most: the whole run has its bound.
ROUNDS = {"logistic": 5, "forest": 2}


def measure(rig: Rig) -> dict[str, Any]:
    """Return each contestant's rates (a second) by model, in the order of the rounds."""
    wanting = {}
    for name in COUNTS["logistic"]:
        if name == BATON:
            continue
        try:
            prepare(name)
        except Exception as error:  # noqa: BLE001 - one less to compare with, and it is told
            wanting[name] = _told(error)
            rig.say(f"{name} cannot be prepared: {wanting[name]}")
    return {
        "rounds": rig.rounds,
        "counts": COUNTS,
        "blocks": {kind: block(rig, kind, wanting) for kind in COUNTS},
        "peers": {
            name: {"title": peer.title, "guarantee": peer.guarantee, "lacks": peer.lacks}
            for name, peer in PEERS.items()
        },
    }


def block(rig: Rig, kind: str, wanting: dict[str, str]) -> dict[str, Any]:
    """Measure every contestant with one model, round after round."""
    model = models.save(kind, rig.folder)
    errors = {name: text for name, text in wanting.items() if name in COUNTS[kind]}
    rates: dict[str, list[float]] = {}
    rounds = min(rig.rounds, ROUNDS[kind])
    for number in range(rounds):
        for name, full in COUNTS[kind].items():
            if name in errors:
                continue
            settings = rig.fresh(f"{kind}-{name}-{number}")
            try:
                found = run(rig, settings, kind, name, rig.size(full), model)
            except Exception as error:
                if name == BATON:
                    raise
                errors[name] = _told(error)
                rig.say(f"{kind}, round {number + 1} of {rounds}: {name}: {errors[name]}")
                continue
            rates.setdefault(name, []).append(found)
            rig.say(f"{kind}, round {number + 1} of {rounds}: {name} {found:,.0f}/s")
    return {"rates": rates, "errors": errors}


def run(rig: Rig, settings: Settings, kind: str, name: str, count: int, model: Path) -> float:  # noqa: PLR0913, PLR0917 - one run
    """Return requests a second of a contestant that finds ``count`` of them waiting."""
    payloads: list[Payload]
    contestant: contextlib.AbstractContextManager[Any]
    if name == BATON:
        payloads = seeded(settings, kind=kind)
        contestant = service("scoring", settings, rig.folder, wait=False)
    else:
        asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
        payloads = foreign(name, kind)
        contestant = running(name, settings, model, rig.folder)
    return worked_off(settings, payloads, count, contestant)


def worked_off(
    settings: Settings,
    payloads: list[Payload],
    count: int,
    contestant: contextlib.AbstractContextManager[Any],
) -> float:
    """Append ``count`` requests, start ``contestant``, and return its answers a second.

    Deletes the topics. Raises ValueError where an answer is missing or an error: who loses
    requests, or refuses them, has no rate that could be compared.
    """
    with _topics(settings):
        asyncio.run(fill(settings, stream(settings, payloads, count)))
        with contestant:
            found = asyncio.run(answers(settings, settings.topics.responses, count))
        complete(found, count)
        # While its model loads, a contestant reads ahead: the answers to that come sooner than it
        # could go on giving them (Baton: 75,000 a second, then 45,000).
        return steady_rate(found.times_ms, skipped=0.5)


def served(rig: Rig, settings: Settings, payloads: list[Payload], count: int) -> float:
    """Return the requests a second of a running agent to which ``count`` appear at once.

    From then to the last answer: nothing of it is left out, and no start is in it. Deletes the
    topics. Raises ValueError as ``worked_off`` does.
    """
    topic = settings.topics.responses
    with _topics(settings), service("scoring", settings, rig.folder):
        asyncio.run(fill(settings, stream(settings, payloads, len(payloads))))
        asyncio.run(answers(settings, topic, len(payloads)))
        begun = asyncio.run(appear(settings, list(stream(settings, payloads, count))))
        found = asyncio.run(answers(settings, topic, len(payloads) + count))
        complete(found, len(payloads) + count)
        return count / (max(found.times_ms) - begun) * 1000


def complete(found: Answers, count: int) -> None:
    """Raise ValueError where an answer is missing or an error."""
    if len(found.times_ms) < count or found.errors:
        raise ValueError(
            f"{count:,} requests got {len(found.times_ms):,} answers, {len(found.errors):,} "
            f"errors, e.g. {found.errors[:1]}"
        )


def foreign(name: str, kind: str) -> list[Payload]:
    """Return requests of a row of the model ``kind`` each, in a peer's own protocol."""
    _, frame = models.fitted(kind)
    fields, rows = list(frame.columns), frame.to_numpy().tolist()
    found = []
    for number in range(KINDS):
        value, headers = request(name, fields, rows[number % len(rows)])
        found.append((value, list(headers)))
    return found


@contextlib.contextmanager
def _topics(settings: Settings) -> Iterator[None]:
    try:
        yield
    finally:
        asyncio.run(remove(settings))


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
