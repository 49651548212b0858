"""An experiment: everything that is known of a training run. Its folder has the fitted pipelines.

NAME/experiment.json     an Experiment
NAME/leaderboard.html    the same to look at
NAME/pipelines/8.joblib  pipeline 8, fitted on all rows
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import BatonError
from schemas.faults import first_fault
from schemas.ids import Id
from schemas.manifest import ClassLabel, Finite, InputSchema, Sample

Task = Literal["classification", "regression"]

DOCUMENT = "experiment.json"
PAGE = "leaderboard.html"


class ExperimentError(BatonError):
    """There is no such experiment or pipeline, or it cannot be read or written."""

    code = "invalid_experiment"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Part):
    """A quantity that was measured in each fold: its mean, its standard deviation, and each."""

    mean: Finite
    std: Finite
    folds: tuple[Finite, ...]

    @classmethod
    def of(cls, folds: Iterable[float]) -> "Spread":
        """Return the spread of these measurements."""
        values = np.asarray(list(folds), np.float64)
        return cls(mean=float(values.mean()), std=float(values.std()), folds=values.tolist())


class Errors(_Part):
    """How predictions on rows that a fold held out differ from what is so.

    ``confusion``: rows by actual class, of counts by predicted class, in the order of the
    experiment's ``classes``. ``roc`` (two classes): true positive rates of the second class at
    false positive rates 0, 0.01, …, 1. ``pairs`` (regression): actual and predicted, of at most
    300 rows, the same in every pipeline.
    """

    confusion: tuple[tuple[int, ...], ...] | None = None
    roc: Annotated[tuple[Finite, ...], Field(min_length=2)] | None = None
    pairs: tuple[tuple[Finite, Finite], ...] | None = None


class Pipeline(_Part):
    """A trained pipeline. ``number`` names it within its experiment, ``rank`` 1 is the best.

    ``file`` is relative to the experiment's folder; ``fit_s`` and ``predict_s`` are seconds for
    the rows of one fold. One that could not be trained has an ``error`` and neither rank nor file.
    """

    number: Annotated[int, Field(ge=1)]
    algorithm: str
    rank: int | None = None
    metrics: dict[str, Spread] = Field(default_factory=dict)
    fit_s: Spread | None = None
    predict_s: Spread | None = None
    errors: Errors | None = None
    file: str | None = None
    sha256: str | None = None
    size: int | None = None
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Experiment(_Part):
    """A training run: its data, how it was evaluated, and its pipelines in order of their numbers.

    ``ranked_by`` is the metric of the ranks; ``less_is_better`` names those of which that is so.
    ``classes`` are None for a regression. ``versions`` are of the libraries, by name.
    """

    name: Id
    created_at: str
    seconds: float
    data: str | None
    rows: int
    target: str
    task: Task
    classes: tuple[ClassLabel, ...] | None
    folds: int
    seed: int
    ranked_by: str
    less_is_better: tuple[str, ...]
    input_schema: InputSchema
    sample: Sample
    notes: tuple[str, ...]
    versions: dict[str, str]
    pipelines: tuple[Pipeline, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> "Experiment":
        if len({found.number for found in self.pipelines}) < len(self.pipelines):
            raise ValueError("the numbers of pipelines repeat")
        trained = [found for found in self.pipelines if found.error is None]
        if not trained:
            raise ValueError("no pipeline was trained")
        for found in trained:
            told = (found.rank, found.fit_s, found.predict_s, found.file, found.sha256)
            if None in told or found.metrics.keys() != trained[0].metrics.keys():
                raise ValueError(f"pipeline {found.number} says neither an error nor all of itself")
            if self.ranked_by not in found.metrics:
                raise ValueError(f"pipeline {found.number} has no {self.ranked_by}, which ranks")
        return self

    def leaderboard(self) -> tuple[Pipeline, ...]:
        """Return the pipelines, best first; those that could not be trained come last."""
        last = len(self.pipelines) + 1
        return tuple(sorted(self.pipelines, key=lambda found: (found.rank or last, found.number)))

    def pipeline(self, number: int) -> Pipeline:
        """Return the trained pipeline ``number``. Raises ExperimentError where there is none."""
        for found in self.pipelines:
            if found.number == number:
                if found.error is not None:
                    raise ExperimentError(f"pipeline {number} was not trained: {found.error}")
                return found
        raise ExperimentError(
            f"experiment {self.name} has the pipelines 1 to {len(self.pipelines)}, not {number}"
        )

    def model_name(self, number: int) -> str:
        """Return what a model made of the pipeline ``number`` is called by default."""
        return f"{self.name}-{number}"

    def origin(self, pipeline: Pipeline) -> str:
        """Return how a model made of ``pipeline`` is described by default."""
        return f"{pipeline.algorithm}, pipeline {pipeline.number} of experiment {self.name}"


def load(root: Path, name: str) -> Experiment:
    """Return the experiment ``name`` in the folder ``root``. Raises ExperimentError."""
    path = root / name / DOCUMENT
    try:
        return Experiment.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(names(root)) or "none yet"
        raise ExperimentError(f"there is no experiment {name!r} in {root}, but: {known}") from None
    except OSError as error:
        raise ExperimentError(f"cannot read the experiment {path}: {error}") from error
    except ValidationError as error:
        raise ExperimentError(f"{path} is no experiment: {first_fault(error)}") from None


def experiments(root: Path) -> list[Experiment]:
    """Return the experiments in the folder ``root``, the newest first."""
    found = [load(root, name) for name in names(root)]
    return sorted(found, key=lambda experiment: experiment.created_at, reverse=True)


def names(root: Path) -> list[str]:
    """Return what the experiments in the folder ``root`` are called."""
    return sorted(path.parent.name for path in root.glob(f"[!.]*/{DOCUMENT}"))
