"""A file through a deployment: every row answered once, in the file's order, in bounded memory."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from client.errors import ScoringError
from client.rowfiles import Row, RowFile
from client.scoredfile import NUMBER, ScoredFile
from client.scoring import ScoringClient
from schemas.errors import BatonError
from schemas.manifest import InputSchema
from schemas.scoring import ScoringCode

# Rows of one request: a model is called for all of them at once.
REQUEST_ROWS = 100
# Requests without an answer: with the rows above, what is in memory.
IN_FLIGHT = 32
# Rows between two savings of the progress: what is scored again after a crash.
SAVE_ROWS = 5_000
# Another row would be told the same: the run stops, and goes on when this is mended.
_ENDS = frozenset(
    {
        ScoringCode.DEPLOYMENT_NOT_FOUND,
        ScoringCode.DEPLOYMENT_NOT_READY,
        ScoringCode.DEPLOYMENT_DELETED,
        ScoringCode.ASSET_UNAVAILABLE,
        ScoringCode.REVISION_TIMEOUT,
    }
)

OnProgress = Callable[[int], None]


def check_columns(columns: Sequence[str], schema: InputSchema, keep: Sequence[str]) -> None:
    """Raise BatonError where the file lacks a column that is required, or that is to be kept."""
    missing = [f.name for f in schema.fields if not f.nullable and f.name not in columns]
    if missing:
        raise BatonError(
            f"the file lacks columns that the deployment requires: {', '.join(missing)}; it has "
            f"{', '.join(columns)}"
        )
    unknown = [name for name in keep if name not in columns]
    if unknown:
        raise BatonError(f"the file has no column {', '.join(unknown)} to keep")


async def score_file(
    client: ScoringClient,
    source: RowFile,
    fields: Sequence[str],
    scored: ScoredFile,
    *,
    on_progress: OnProgress = lambda _rows: None,
) -> None:
    """Score the rows of ``source`` that ``scored`` lacks by its plan; ``fields`` are sent.

    However this ends, ``scored`` is saved: the next run goes on. Raises ScoringError where no row
    could be scored (the deployment is gone, or its asset cannot be loaded), and TimeoutError where
    nobody answers.
    """
    plan = scored.plan
    waiting: deque[tuple[list[Row], asyncio.Task[list[Row]]]] = deque()
    saved = scored.rows

    async def take() -> None:
        nonlocal saved
        _, task = waiting[0]
        answers = await task
        rows, _ = waiting.popleft()
        first = scored.rows + 1
        scored.add(
            [
                {NUMBER: number, **{name: row[name] for name in plan.keep}, **answer}
                for number, row, answer in zip(itertools.count(first), rows, answers, strict=False)
            ]
        )
        on_progress(scored.rows)
        if scored.rows - saved >= SAVE_ROWS:
            # Not in a thread: whoever interrupts this would save at the same time.
            scored.save()
            saved = scored.rows

    left = None if plan.limit is None else max(plan.limit - scored.rows, 0)
    rows = itertools.islice(source.rows(scored.rows), left)
    try:
        for chunk in _chunks(rows):
            asked = asyncio.create_task(_ask(client, plan.deployment_id, fields, chunk))
            waiting.append((chunk, asked))
            if len(waiting) >= IN_FLIGHT:
                await take()
        while waiting:
            await take()
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
        scored.save()


async def _ask(
    client: ScoringClient, deployment_id: str, fields: Sequence[str], rows: Sequence[Row]
) -> list[Row]:
    """Score rows in one request; where it fails, its halves, until those at fault are alone."""
    values = [[row[name] for name in fields] for row in rows]
    try:
        result = await client.score(deployment_id, values, fields=fields)
    except ScoringError as error:
        if error.reason in _ENDS:
            raise
        if len(rows) == 1:
            return [_answer((), error.asset_id, error.revision, error)]
        half = len(rows) // 2
        parts = await asyncio.gather(
            _ask(client, deployment_id, fields, rows[:half]),
            _ask(client, deployment_id, fields, rows[half:]),
        )
        return [*parts[0], *parts[1]]
    return [
        _answer(value, result.asset_id, result.revision) for value in result.values
    ]  # fmt: skip


def _answer(
    value: Sequence[Any] = (),
    asset_id: str | None = None,
    revision: int | None = None,
    error: ScoringError | None = None,
) -> Row:
    field = "" if error is None or error.field is None else f" (field {error.field})"
    return {
        "prediction": value[0] if value else None,
        "probability": value[1] if len(value) > 1 else None,
        "asset_id": asset_id,
        "revision": revision,
        "error_code": None if error is None else error.reason,
        "error_message": None if error is None else f"{error.message}{field}",
    }


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, REQUEST_ROWS)):
        yield chunk
