"""An experiment is run: each pipeline cross-validated, fitted on all rows and kept."""

import hashlib
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import joblib
import numpy as np
import pandas as pd
import sklearn
from threadpoolctl import threadpool_limits

from artifacts.infer import sample_rows
from artifacts.save import Details, save_with_schema
from artifacts.store import Store
from experiments.catalogue import pipelines
from experiments.data import DataError, Dataset, dataset
from experiments.evaluation import METRICS, evaluate
from experiments.experiment import (
    DOCUMENT,
    PAGE,
    Experiment,
    ExperimentError,
    Pipeline,
    Task,
)
from experiments.page import page
from schemas.ids import ID_PATTERN, is_id
from schemas.manifest import Manifest
from schemas.times import rfc3339

LEAST_FOLDS = 2
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``task`` None: the target decides; ``metric`` None: roc_auc or rmse ranks.

    ``data`` says where the rows came from, for people to read.
    """

    name: str
    target: str
    task: Task | None = None
    folds: int = 5
    seed: int = 0
    metric: str | None = None
    leave_out: Sequence[str] = ()
    data: str | None = None


class Progress(NamedTuple):
    """``done`` of ``total`` pipelines are trained; ``algorithm`` is next, or None at the end."""

    done: int
    total: int
    algorithm: str | None


def run(
    frame: pd.DataFrame,
    plan: Plan,
    root: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Experiment:
    """Train pipelines on ``frame`` and keep them in the folder ``root``/``plan.name``.

    The same frame, plan and library versions make the same metrics and ranks. Raises DataError for
    data that cannot be trained on and ExperimentError where the name is taken, or nothing could be
    written. The folder is whole, or absent.
    """
    folder = root / plan.name
    _check(plan, folder)
    data = dataset(frame, plan.target, task=plan.task, folds=plan.folds, leave_out=plan.leave_out)
    ranked_by = plan.metric or next(iter(METRICS[data.task]))
    if ranked_by not in METRICS[data.task]:
        raise DataError(
            f"a {data.task} has no metric {ranked_by!r}, but: {', '.join(METRICS[data.task])}"
        )
    begun, created_at = time.monotonic(), rfc3339(time.time_ns() // 1_000_000)
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{plan.name}-", dir=root))
        try:
            trained = _trained(data, plan, scratch, on_progress)
            experiment = Experiment(
                name=plan.name,
                created_at=created_at,
                seconds=round(time.monotonic() - begun, 3),
                data=plan.data,
                rows=len(data.target),
                target=plan.target,
                task=data.task,
                classes=np.unique(data.target).tolist() if data.task == "classification" else None,
                folds=plan.folds,
                seed=plan.seed,
                ranked_by=ranked_by,
                less_is_better=tuple(n for n, m in METRICS[data.task].items() if m.less_is_better),
                input_schema=data.schema,
                sample=sample_rows(data.features.sample(frac=1, random_state=plan.seed)),
                notes=data.notes,
                versions=_versions(),
                pipelines=_ranked(trained, ranked_by, less=METRICS[data.task][ranked_by][1]),
            )
            (scratch / DOCUMENT).write_text(experiment.model_dump_json(indent=1) + "\n")
            (scratch / PAGE).write_text(page(experiment))
            # Others read it: mkdtemp makes a folder of its owner alone.
            scratch.chmod(0o755)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ExperimentError(f"cannot keep the experiment in {folder}: {error}") from error
    return experiment


def save_pipeline(
    root: Path,
    experiment: Experiment,
    number: int,
    *,
    store: Store,
    name: str | None = None,
    **more: Unpack[Details],
) -> Manifest:
    """Save a pipeline as a model: its metrics' means, its schema and sample rows go with it.

    Without a name it is EXPERIMENT-NUMBER. Raises ExperimentError where it was not trained or its
    file is not the one that the experiment wrote.
    """
    found = experiment.pipeline(number)
    path = root / experiment.name / str(found.file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExperimentError(f"cannot read pipeline {number}: {error}") from error
    if hashlib.sha256(content).hexdigest() != found.sha256:
        raise ExperimentError(f"{path} is not the file that the experiment wrote")
    if experiment.versions["scikit-learn"] != sklearn.__version__:
        raise ExperimentError(
            f"experiment {experiment.name} was run by scikit-learn "
            f"{experiment.versions['scikit-learn']}, here is {sklearn.__version__}: run it again"
        )
    more["description"] = more.get("description") or experiment.origin(found)
    more["metrics"] = {key: round(spread.mean, DIGITS) for key, spread in found.metrics.items()}
    return save_with_schema(
        joblib.load(path),
        experiment.input_schema,
        experiment.sample,
        store=store,
        name=name or experiment.model_name(number),
        **more,
    )


def _check(plan: Plan, folder: Path) -> None:
    if not is_id(plan.name):
        raise ExperimentError(f"{plan.name!r} is no name of an experiment: {ID_PATTERN}")
    if folder.exists():
        raise ExperimentError(
            f"experiment {plan.name} exists in {folder.parent}: give another name"
        )
    if plan.folds < LEAST_FOLDS:
        raise DataError(f"{plan.folds} folds: cross-validation needs at least {LEAST_FOLDS}")


def _trained(
    data: Dataset, plan: Plan, folder: Path, on_progress: Callable[[Progress], None]
) -> list[Pipeline]:
    (folder / "pipelines").mkdir()
    named = pipelines(data, plan.seed)
    trained = []
    for number, (algorithm, estimator) in enumerate(named.items(), 1):
        on_progress(Progress(number - 1, len(named), algorithm))
        steps = tuple(type(step).__name__ for _, step in estimator.steps)
        pipeline = Pipeline(number=number, algorithm=algorithm, steps=steps)
        trained.append(_train(pipeline, estimator, data, plan, folder))
    on_progress(Progress(len(named), len(named), None))
    if all(pipeline.error for pipeline in trained):
        raise DataError(f"no pipeline could be trained; {trained[0].algorithm}: {trained[0].error}")
    return trained


def _train(
    pipeline: Pipeline,
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    data: Dataset,
    plan: Plan,
    folder: Path,
) -> Pipeline:
    """Return ``pipeline`` with all that its training told.

    In one thread: the last digits of a sum depend on how many have shared it.
    """
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            found = evaluate(
                estimator, data.features, data.target, data.task, plan.folds, plan.seed
            )
            estimator.fit(data.features, data.target)
        except Exception as error:  # noqa: BLE001 - one that fails leaves the others
            return pipeline.model_copy(update={"error": f"{type(error).__name__}: {error}"})
    file = f"pipelines/{pipeline.number}.joblib"
    joblib.dump(estimator, folder / file)
    content = (folder / file).read_bytes()
    told = {str(entry.message).strip().splitlines()[0] for entry in caught}
    return pipeline.model_copy(
        update=found._asdict()
        | {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "warnings": tuple(sorted(told)),
        }
    )


def _ranked(trained: Sequence[Pipeline], metric: str, *, less: bool) -> tuple[Pipeline, ...]:
    def place(pipeline: Pipeline) -> tuple[float, int]:
        mean = pipeline.metrics[metric].mean
        return (mean if less else -mean, pipeline.number)

    order = sorted((pipeline for pipeline in trained if pipeline.error is None), key=place)
    ranks = {pipeline.number: rank for rank, pipeline in enumerate(order, 1)}
    return tuple(
        pipeline.model_copy(update={"rank": ranks.get(pipeline.number)}) for pipeline in trained
    )


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }
