"""One vectorised prediction for many requests; a request that fails, fails alone."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from artifacts.frames import FieldError, Matrix, Plan
from artifacts.hosts import HostedModel
from artifacts.processes import ModelDiedError, ModelGoneError, ModelOverdueError
from artifacts.wire import Column, listed
from schemas.scoring import ScoringCode
from scoring.cache import ModelCache, ModelRef
from scoring.codecs.tables import Prediction, Table
from scoring.errors import ScoringError, mismatch
from scoring.metrics import ScoringMetrics
from scoring.quarantine import Quarantine

# Of one call: the time limit is for so many, so that a slow model is not taken for one that hangs.
ROWS_AT_ONCE = 2000

Result = list[Prediction] | ScoringError
# No slice of it has been answered yet.
_NOTHING: list[Prediction] = []


class _Slice(NamedTuple):
    """Rows of one table of one request: where their answer goes, how they match the schema.

    ``whole``: they are all rows of all tables of the request, as nearly always.
    """

    results: "_Results"
    number: int
    table: int
    plan: Plan
    rows: Sequence[list[Any]]
    numeric: bool
    whole: bool

    @property
    def failed(self) -> bool:
        """Whether its request has an error already, and so needs nothing more."""
        return isinstance(self.results.all[self.number], ScoringError)

    def fail(self, error: ScoringError) -> None:
        """Give its request the error, if it has none yet."""
        self.results.fail(self.number, error)


class _Results:
    """What is known of each request's answer so far; slices of a table come in their order."""

    def __init__(self, count: int) -> None:
        self.all: list[Result] = [_NOTHING] * count

    def fail(self, number: int, error: ScoringError) -> None:
        """Give a request its error, if it has none yet."""
        if not isinstance(self.all[number], ScoringError):
            self.all[number] = error

    def add(self, part: _Slice, labels: list[Any], shares: list[Any] | None) -> None:
        """Add the predictions of one slice."""
        if part.whole:
            self.all[part.number] = [Prediction(labels, shares)]
            return
        answer = self.all[part.number]
        if isinstance(answer, ScoringError):
            return
        if answer is _NOTHING:
            answer = self.all[part.number] = []
        while len(answer) <= part.table:
            answer.append(Prediction([], None))
        known = answer[part.table]
        known.predictions.extend(labels)
        if shares is not None:
            answer[part.table] = Prediction(
                known.predictions, [*(known.probabilities or ()), *shares]
            )


class _Line:
    """Who waits for one model: all of them are asked about together, once it is free."""

    def __init__(self) -> None:
        self.slices: list[_Slice] = []
        self.waiting: list[asyncio.Future[None]] = []


class Predictor:
    """Predicts with models that run in processes of their own.

    What comes while a model is busy is one call to it afterwards, from whatever partition and
    batch: a call has a price of its own, and a model that is slow needs it least.
    """

    def __init__(
        self,
        cache: ModelCache,
        quarantine: Quarantine,
        metrics: ScoringMetrics | None = None,
    ) -> None:
        self._cache = cache
        self._quarantine = quarantine
        self._metrics = metrics or ScoringMetrics()
        # By model file and schema: those that are being worked off.
        self._lines: dict[str, _Line] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def predict(self, ref: ModelRef, requests: Sequence[list[Table]]) -> list[Result]:
        """Return for each request a prediction for each of its tables, or its error."""
        try:
            model = await self._cache.get(ref)
        except ScoringError as error:
            return [error] * len(requests)
        results = _Results(len(requests))
        slices = list(_sliced(model, requests, results))
        if sum(len(part.rows) for part in slices) > ROWS_AT_ONCE:
            # Calls enough of its own; those in the line take turns with them.
            for piece in _pieces(slices):
                await self._fill(ref, piece)
        else:
            await self._stand_in_line(ref, slices)
        return results.all

    async def _stand_in_line(self, ref: ModelRef, slices: list[_Slice]) -> None:
        line = self._lines.get(ref.key)
        if line is None:
            line = self._lines[ref.key] = _Line()
            work = asyncio.create_task(self._work_off(ref, line))
            self._working.add(work)
            work.add_done_callback(self._working.discard)
        line.slices += slices
        done = asyncio.get_running_loop().create_future()
        line.waiting.append(done)
        await done

    async def _work_off(self, ref: ModelRef, line: _Line) -> None:
        """Ask for all who stand in line, again and again until nobody does."""
        waiting: list[asyncio.Future[None]] = []
        try:
            while line.waiting:
                slices, line.slices = line.slices, []
                waiting, line.waiting = line.waiting, []
                for piece in _pieces(slices):
                    await self._fill(ref, piece)
                _let_go(waiting, None)
        except Exception as error:  # noqa: BLE001 - told to whoever stands in line
            _let_go([*waiting, *line.waiting], error)
        finally:
            del self._lines[ref.key]

    async def _fill(self, ref: ModelRef, parts: list[_Slice], *, again: bool = False) -> None:
        """Fill in the results of ``parts``. Where they fail together, each half is tried alone."""
        if not parts:
            return
        try:
            model = await self._cache.get(ref)
            began = time.monotonic()
            await _answer(model, parts)
            self._metrics.predict.observe(time.monotonic() - began)
        except FieldError:
            await self._fill_fitting(ref, parts)
        except ModelGoneError:
            # Evicted, or killed for what another batch did.
            await self._fill(ref, parts, again=again)
        except ScoringError as error:
            _fail(parts, error)
        except ModelOverdueError as error:
            self._quarantine.overdue(ref.manifest.sha256, str(error))
            _fail(parts, _failed(f"gave {error}; it is in quarantine on this instance"))
        except ModelDiedError as error:
            self._quarantine.died(ref.manifest.sha256, str(error))
            if error.answered and not again:
                # It may have leaked until it died: these rows need not be the cause.
                await self._fill(ref, parts, again=True)
            else:
                await self._halves(ref, parts, f"died of these rows: {error}")
        except Exception as error:  # noqa: BLE001 - whatever these rows do, they do to themselves
            await self._halves(ref, parts, f"fails on these rows: {error}")

    async def _fill_fitting(self, ref: ModelRef, parts: list[_Slice]) -> None:
        """Give the slices whose rows do not fit the schema their error, and try the others."""
        model = await self._cache.get(ref)
        misfits = await asyncio.to_thread(_misfits, model, parts)
        for part, error in misfits:
            part.fail(error)
        if misfits:
            await self._fill(ref, [part for part in parts if not part.failed])
        else:
            await self._halves(ref, parts, "cannot read these rows together")

    async def _halves(self, ref: ModelRef, parts: list[_Slice], what: str) -> None:
        if len({(id(part.results), part.number) for part in parts}) == 1:
            _fail(parts, _failed(what))
            return
        middle = len(parts) // 2
        for half in (parts[:middle], parts[middle:]):
            await self._fill(ref, [part for part in half if not part.failed], again=True)


def _let_go(waiting: list["asyncio.Future[None]"], error: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue  # it gave up
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _sliced(
    model: HostedModel, requests: Sequence[list[Table]], results: _Results
) -> Iterator[_Slice]:
    """Yield all rows in slices of at most ROWS_AT_ONCE; who names no such fields gets an error."""
    planned: tuple[str, ...] | None = ()
    plan = None
    for number, tables in enumerate(requests):
        for index, (fields, rows, numeric) in enumerate(tables):
            # Requests alike share the tuple: then it need not be looked up.
            if plan is None or fields is not planned:
                try:
                    plan = model.layout.plan(fields)
                except FieldError as error:
                    results.fail(number, mismatch(error.message, error.field))
                    break
                planned = fields
            if len(rows) <= ROWS_AT_ONCE:
                yield _Slice(results, number, index, plan, rows, numeric, len(tables) == 1)
                continue
            for at in range(0, len(rows), ROWS_AT_ONCE):
                piece = rows[at : at + ROWS_AT_ONCE]
                yield _Slice(results, number, index, plan, piece, numeric, whole=False)


def _pieces(parts: Sequence[_Slice]) -> Iterator[list[_Slice]]:
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


async def _answer(model: HostedModel, parts: list[_Slice]) -> None:
    """Fill in what one call answers to ``parts``."""
    numeric = all(part.numeric for part in parts)

    def build() -> Matrix:
        return model.layout.build([(part.plan, part.rows) for part in parts], numeric=numeric)

    rows = sum([len(part.rows) for part in parts])
    predicted, probabilities = await model.predict(build, rows)
    bad = _not_finite(predicted, rows) | _not_finite(probabilities, rows)
    good = not bad.any()
    labels = listed(predicted)
    shares = None if probabilities is None else listed(probabilities)
    at = 0
    for part in parts:
        end = at + len(part.rows)
        if good or not bad[at:end].any():
            part.results.add(part, labels[at:end], None if shares is None else shares[at:end])
        else:
            part.fail(_failed("answered NaN or infinity to these rows"))
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


def _fail(parts: Sequence[_Slice], error: ScoringError) -> None:
    for part in parts:
        part.fail(error)


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
