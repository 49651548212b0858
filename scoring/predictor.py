"""One vectorised prediction for many requests; a request that fails, fails alone."""

import asyncio
from collections.abc import Iterator, Sequence
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

# Of one call: the time limit is for so many, so that a slow model is not taken for one that hangs.
ROWS_AT_ONCE = 2000

Result = list[Prediction] | ScoringError


class _Slice(NamedTuple):
    """Rows of one table of one request: their numbers, how they match the schema, the rows."""

    number: int
    table: int
    plan: Plan
    rows: Sequence[list[Any]]


class _Results:
    """What is known of each request's answer so far; slices of a table come in their order."""

    def __init__(self, requests: Sequence[list[Table]]) -> None:
        self.all: list[Result] = [[Prediction([], None) for _ in tables] for tables in requests]

    def fail(self, number: int, error: ScoringError) -> None:
        """Give a request its error: that of its first slice to fail."""
        if not self.failed(number):
            self.all[number] = error

    def failed(self, number: int) -> bool:
        """Whether a request has an error already, and so needs nothing more."""
        return isinstance(self.all[number], ScoringError)

    def add(self, part: _Slice, labels: list[Any], shares: list[Any] | None) -> None:
        """Add the predictions of one slice."""
        answer = self.all[part.number]
        if isinstance(answer, ScoringError):
            return
        known = answer[part.table]
        known.predictions.extend(labels)
        if shares is not None:
            answer[part.table] = Prediction(
                known.predictions, [*(known.probabilities or ()), *shares]
            )


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
        results = _Results(requests)
        for piece in _pieces(_sliced(model, requests, results)):
            await self._fill(manifest, piece, results)
        return results.all

    async def _fill(
        self, manifest: Manifest, parts: list[_Slice], results: _Results, *, again: bool = False
    ) -> None:
        """Fill in the results of ``parts``. Where they fail together, each half is tried alone."""
        parts = [part for part in parts if not results.failed(part.number)]
        if not parts:
            return
        try:
            model = await self._cache.get(manifest)
            await _answer(model, parts, results)
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

    async def _fill_fitting(
        self, manifest: Manifest, parts: list[_Slice], results: _Results
    ) -> None:
        """Give the slices whose rows do not fit the schema their error, and try the others."""
        model = await self._cache.get(manifest)
        misfits = await asyncio.to_thread(_misfits, model, parts)
        for part, error in misfits:
            results.fail(part.number, error)
        if misfits:
            await self._fill(manifest, parts, results)
        else:
            await self._halves(manifest, parts, results, "cannot read these rows together")

    async def _halves(
        self, manifest: Manifest, parts: list[_Slice], results: _Results, what: str
    ) -> None:
        if len({part.number for part in parts}) == 1:
            _fail(parts, results, _failed(what))
            return
        middle = len(parts) // 2
        for half in (parts[:middle], parts[middle:]):
            await self._fill(manifest, half, results, again=True)


def _sliced(
    model: HostedModel, requests: Sequence[list[Table]], results: _Results
) -> Iterator[_Slice]:
    """Yield all rows in slices of at most ROWS_AT_ONCE; who names no such fields gets an error."""
    for number, tables in enumerate(requests):
        for index, table in enumerate(tables):
            try:
                plan = model.layout.plan(table.fields)
            except FieldError as error:
                results.fail(number, mismatch(error.message, error.field))
                break
            rows = table.rows
            if len(rows) <= ROWS_AT_ONCE:
                yield _Slice(number, index, plan, rows)
                continue
            for at in range(0, len(rows), ROWS_AT_ONCE):
                yield _Slice(number, index, plan, rows[at : at + ROWS_AT_ONCE])


def _pieces(parts: Iterator[_Slice]) -> Iterator[list[_Slice]]:
    """Yield ``parts`` in runs of at most ROWS_AT_ONCE rows."""
    piece: list[_Slice] = []
    rows = 0
    for part in parts:
        if piece and rows + len(part.rows) > ROWS_AT_ONCE:
            yield piece
            piece, rows = [], 0
        piece.append(part)
        rows += len(part.rows)
    if piece:
        yield piece


async def _answer(model: HostedModel, parts: list[_Slice], results: _Results) -> None:
    """Fill in what one call answers to ``parts``."""

    def build() -> Matrix:
        return model.layout.build([(part.plan, part.rows) for part in parts])

    predicted, probabilities = await model.predict(build)
    rows = sum(len(part.rows) for part in parts)
    bad = _not_finite(predicted, rows) | _not_finite(probabilities, rows)
    labels = _listed(predicted)
    shares = None if probabilities is None else _listed(probabilities)
    at = 0
    for part in parts:
        end = at + len(part.rows)
        if bad[at:end].any():
            results.fail(part.number, _failed("answered NaN or infinity to these rows"))
        else:
            results.add(part, labels[at:end], None if shares is None else shares[at:end])
        at = end


def _misfits(model: HostedModel, parts: list[_Slice]) -> list[tuple[_Slice, ScoringError]]:
    """Return the slices whose rows do not fit the schema, each with what is wrong."""
    found = []
    for part in parts:
        try:
            model.layout.build([(part.plan, part.rows)])
        except FieldError as error:
            found.append((part, mismatch(error.message, error.field)))
    return found


def _fail(parts: list[_Slice], results: _Results, error: ScoringError) -> None:
    for part in parts:
        results.fail(part.number, error)


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
