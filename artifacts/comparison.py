"""Two models side by side: metrics, input fields, and what they predict on the same rows."""

from typing import Any, NamedTuple

from artifacts.frames import FieldError, Layout, Matrix
from artifacts.hosts import Hosts
from artifacts.store import Store
from artifacts.wire import listed
from schemas.errors import BatonError, ModelError
from schemas.manifest import InputSchema, Manifest, Sample

# Probabilities are of shape (rows, classes).
_TABLE = 2


class MetricPair(NamedTuple):
    """A metric of two models; None where one does not have it."""

    name: str
    first: float | None
    second: float | None
    difference: float | None


class FieldPair(NamedTuple):
    """An input field of two models, as ``double`` or ``string nullable``; None: not read."""

    name: str
    first: str | None
    second: str | None
    same: bool


class Prediction(NamedTuple):
    """What a model predicts for a row; ``probability`` is of each class, None without any."""

    prediction: Any
    probability: tuple[float, ...] | None


class PredictionPair(NamedTuple):
    """What two models predict for a sample row of the first. ``same``: the same prediction."""

    row: int
    first: Prediction
    second: Prediction
    same: bool


class Comparison(NamedTuple):
    """Two models side by side; ``reason`` says why there are no predictions to compare."""

    metrics: tuple[MetricPair, ...]
    fields: tuple[FieldPair, ...]
    outputs: tuple[dict[str, Any] | None, dict[str, Any] | None]
    predictions: tuple[PredictionPair, ...]
    reason: str | None


def compare(first: Manifest, second: Manifest, store: Store) -> Comparison:
    """Compare two models. Both files are loaded here, once their digests are checked."""
    predictions, reason = _predictions(first, second, store)
    return Comparison(
        metrics(first, second),
        fields(first.input_schema, second.input_schema),
        (_output(first), _output(second)),
        predictions,
        reason,
    )


def metrics(first: Manifest, second: Manifest) -> tuple[MetricPair, ...]:
    """Return the metrics that either model has. No file is loaded."""
    return tuple(
        _metric(name, first.metrics.get(name), second.metrics.get(name))
        for name in {**first.metrics, **second.metrics}
    )


def _metric(name: str, first: float | None, second: float | None) -> MetricPair:
    if first is None or second is None:
        return MetricPair(name, first, second, None)
    return MetricPair(name, first, second, second - first)


def fields(first: InputSchema | None, second: InputSchema | None) -> tuple[FieldPair, ...]:
    """Return the input fields that either model reads. No file is loaded."""
    ours, theirs = _described(first), _described(second)
    return tuple(
        FieldPair(name, ours.get(name), theirs.get(name), ours.get(name) == theirs.get(name))
        for name in {**ours, **theirs}
    )


def _described(schema: InputSchema | None) -> dict[str, str]:
    known = schema.fields if schema else ()
    return {f.name: f"{f.type}{' nullable' if f.nullable else ''}" for f in known}


def _output(manifest: Manifest) -> dict[str, Any] | None:
    schema = manifest.output_schema
    return None if schema is None else schema.model_dump(mode="json", exclude_none=True)


async def predictions_apart(
    first: Manifest, second: Manifest, hosts: Hosts
) -> tuple[tuple[PredictionPair, ...], str | None]:
    """Return what both predict for the sample rows of the first, or why there is nothing.

    Each is loaded into a process of its own, which ends with its answer: none of their code runs
    here.
    """
    sample = first.sample
    if sample is None or not sample.values:
        return (), _no_sample(first)
    try:
        ours = await _predicted_apart(first, sample, hosts)
        theirs = await _predicted_apart(second, sample, hosts)
    except ModelError as error:
        return (), str(error)
    return _paired(ours, theirs), None


def _predictions(
    first: Manifest, second: Manifest, store: Store
) -> tuple[tuple[PredictionPair, ...], str | None]:
    sample = first.sample
    if sample is None or not sample.values:
        return (), _no_sample(first)
    try:
        ours, theirs = (_predicted(manifest, sample, store) for manifest in (first, second))
    except ModelError as error:
        return (), str(error)
    return _paired(ours, theirs), None


def _no_sample(manifest: Manifest) -> str:
    return f"{manifest.name} has no sample rows"


def _paired(ours: list[Prediction], theirs: list[Prediction]) -> tuple[PredictionPair, ...]:
    pairs = enumerate(zip(ours, theirs, strict=True))
    return tuple(PredictionPair(row, a, b, a[0] == b[0]) for row, (a, b) in pairs)


def _predicted(manifest: Manifest, sample: Sample, store: Store) -> list[Prediction]:
    # Who compares apart, as the console does, need not wait for scikit-learn.
    from artifacts.load import unpickle, wants_frame  # noqa: PLC0415 - slow to import
    from artifacts.save import loaded  # noqa: PLC0415 - slow to import

    if manifest.input_schema is None:
        raise ModelError(f"{manifest.name} has no input schema")
    content = store.read(manifest.uri, manifest.sha256)
    estimator = loaded(manifest.name, lambda: unpickle(content))
    layout = Layout(manifest.input_schema, as_frame=wants_frame(estimator))
    try:
        rows = layout.build([(layout.plan(sample.fields), sample.values)])
        predictions = estimator.predict(rows).tolist()
        if not hasattr(estimator, "predict_proba"):
            return [Prediction(value, None) for value in predictions]
        shares = [tuple(row) for row in estimator.predict_proba(rows).tolist()]
    except FieldError as error:
        raise ModelError(f"{manifest.name} cannot read these rows: {error}") from error
    except Exception as error:
        raise ModelError(f"{manifest.name} does not predict on these rows: {error}") from error
    return [Prediction(value, row) for value, row in zip(predictions, shares, strict=True)]


async def _predicted_apart(manifest: Manifest, sample: Sample, hosts: Hosts) -> list[Prediction]:
    try:
        model = await hosts.load(manifest)
    except BatonError as error:
        raise ModelError(f"{manifest.name} cannot be loaded: {error}") from error

    def build() -> Matrix:
        return model.layout.build([(model.layout.plan(sample.fields), sample.values)])

    try:
        labels, shares = await model.predict(build, len(sample.values))
    except FieldError as error:
        raise ModelError(f"{manifest.name} cannot read these rows: {error}") from error
    except BatonError as error:
        raise ModelError(f"{manifest.name} does not predict on these rows: {error}") from error
    finally:
        await model.close()
    values, rows = listed(labels), len(sample.values)
    if len(values) != rows:
        raise ModelError(f"{manifest.name} answers {len(values)} predictions to {rows} rows")
    if shares is None or isinstance(shares, list) or shares.ndim != _TABLE or len(shares) != rows:
        return [Prediction(value, None) for value in values]
    return [
        Prediction(value, tuple(row)) for value, row in zip(values, shares.tolist(), strict=True)
    ]
