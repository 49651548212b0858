"""One vectorised prediction for many requests; a request that fails, fails alone."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from artifacts.frames import FieldError, Matrix, Plan
from artifacts.hosts import HostedModel
from artifacts.processes import ModelDiedError, ModelGoneError, ModelOverdueError
from artifacts.wire import Column
from schemas.manifest import Manifest
from schemas.scoring import ScoringCode
from scoring.cache import ModelCache
from scoring.codecs.tables import Prediction, Table
from scoring.errors import ScoringError, mismatch
from scoring.quarantine import Quarantine

# Of one call, unless a single request has more: the time limit is for so many, so that a slow model
# is not taken for one that hangs.
ROWS_AT_ONCE = 2000

Result = list[Prediction] | ScoringError


class _Part(NamedTuple):
    """One request: its number in the batch and its tables, matched to the schema."""

    number: int
    tables: list[tuple[Plan, list[list[Any]]]]
    rows: int


class Predictor:
    """Predicts with models that run in processes of their own."""

    def __init__(self, cache: ModelCache, quarantine: Quarantine) -> None:
        self._cache = cache
        self._quarantine = quarantine

    async def predict(self, manifest: Manifest, requests: Sequence[list[Table]]) -> list[Result]:
        """Return for each request a prediction for each of its tables, or its error."""
        try:
            model = await self._cache.get(manifest)
        except ScoringError as error:
            return [error] * len(requests)
        results: list[Result | None] = [None] * len(requests)
        parts: list[_Part] = []
        for number, tables in enumerate(requests):
            try:
                planned = [(model.layout.plan(table.fields), table.rows) for table in tables]
            except FieldError as error:
                results[number] = mismatch(error.message, error.field)
            else:
                parts.append(_Part(number, planned, sum(len(table.rows) for table in tables)))
        for piece in _pieces(parts):
            await self._fill(manifest, piece, results)
        return [result for result in results if result is not None]

    async def _fill(
        self,
        manifest: Manifest,
        parts: list[_Part],
        results: list[Result | None],
        *,
        again: bool = False,
    ) -> None:
        """Fill in the results of ``parts``. Where they fail together, each half is tried alone."""
        try:
            model = await self._cache.get(manifest)
            answers = await _answers(model, parts)
        except FieldError:
            await self._fill_fitting(manifest, parts, results)
        except ModelGoneError:
            # Evicted, or killed for what another batch did.
            await self._fill(manifest, parts, results, again=again)
        except ScoringError as error:
            _fail(parts, results, error)
        except ModelOverdueError as error:
            self._quarantine.overdue(manifest.sha256, str(error))
            _fail(parts, results, _failed(f"gave {error}; it is in quarantine on this instance"))
        except ModelDiedError as error:
            self._quarantine.died(manifest.sha256, str(error))
            if error.answered and not again:
                # It may have leaked until it died: these rows need not be the cause.
                await self._fill(manifest, parts, results, again=True)
            else:
                await self._halves(manifest, parts, results, f"died of these rows: {error}")
        except Exception as error:  # noqa: BLE001 - whatever these rows do, they do to themselves
            await self._halves(manifest, parts, results, f"fails on these rows: {error}")
        else:
            for part, answer in zip(parts, answers, strict=True):
                results[part.number] = answer

    async def _fill_fitting(
        self, manifest: Manifest, parts: list[_Part], results: list[Result | None]
    ) -> None:
        """Give the parts whose rows do not fit the schema their error, and try the others."""
        model = await self._cache.get(manifest)
        misfits = await asyncio.to_thread(_misfits, model, parts)
        for part, error in misfits:
            results[part.number] = error
        if misfits:
            gone = {part.number for part, _ in misfits}
            await self._fill(manifest, [p for p in parts if p.number not in gone], results)
        else:
            await self._halves(manifest, parts, results, "cannot read these rows together")

    async def _halves(
        self, manifest: Manifest, parts: list[_Part], results: list[Result | None], what: str
    ) -> None:
        if len(parts) == 1:
            _fail(parts, results, _failed(what))
            return
        middle = len(parts) // 2
        for half in (parts[:middle], parts[middle:]):
            await self._fill(manifest, half, results, again=True)


def _pieces(parts: list[_Part]) -> Iterator[list[_Part]]:
    """Yield ``parts`` in runs of at most ROWS_AT_ONCE rows, or of one part."""
    piece: list[_Part] = []
    rows = 0
    for part in parts:
        if piece and rows + part.rows > ROWS_AT_ONCE:
            yield piece
            piece, rows = [], 0
        piece.append(part)
        rows += part.rows
    if piece:
        yield piece


async def _answers(model: HostedModel, parts: list[_Part]) -> list[Result]:
    """Return what one call answers to ``parts``."""
    if not parts:
        return []

    def build() -> Matrix:
        return model.layout.build(list(chain.from_iterable(part.tables for part in parts)))

    predicted, probabilities = await model.predict(build)
    rows = sum(part.rows for part in parts)
    bad = _not_finite(predicted, rows) | _not_finite(probabilities, rows)
    labels = _listed(predicted)
    shares = None if probabilities is None else _listed(probabilities)
    at = 0
    answers: list[Result] = []
    for part in parts:
        if bad[at : at + part.rows].any():
            answers.append(_failed("answered NaN or infinity to these rows"))
            at += part.rows
            continue
        answer = []
        for _, values in part.tables:
            end = at + len(values)
            answer.append(Prediction(labels[at:end], None if shares is None else shares[at:end]))
            at = end
        answers.append(answer)
    return answers


def _misfits(model: HostedModel, parts: list[_Part]) -> list[tuple[_Part, ScoringError]]:
    """Return the parts whose rows do not fit the schema, each with what is wrong."""
    found = []
    for part in parts:
        try:
            model.layout.build(part.tables)
        except FieldError as error:
            found.append((part, mismatch(error.message, error.field)))
    return found


def _fail(parts: list[_Part], results: list[Result | None], error: ScoringError) -> None:
    for part in parts:
        results[part.number] = error


def _failed(what: str) -> ScoringError:
    return ScoringError(ScoringCode.MODEL_ERROR, f"the model {what}"[:1000])


def _not_finite(values: Column | None, rows: int) -> npt.NDArray[np.bool_]:
    """Return which of ``rows`` have a number that JSON cannot say. ValueError: not that many."""
    if values is None:
        return np.zeros(rows, np.bool_)
    count = len(values) if isinstance(values, list) else values.shape[:1]
    if count not in {rows, (rows,)}:
        raise ValueError(f"{count} results for {rows} rows")
    if isinstance(values, list) or values.dtype.kind != "f":
        return np.zeros(rows, np.bool_)
    return np.asarray(~np.isfinite(values).reshape(rows, -1).all(axis=1))


def _listed(values: Column) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()
