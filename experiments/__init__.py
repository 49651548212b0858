"""Experiments: where models come from. Data in, cross-validated pipelines and a leaderboard out.

Everything that a page or a console shows of one is in ``Experiment``, and ``run``, ``load`` and
``experiments`` make it::

    experiment = run(frame, Plan("breast-cancer", target="diagnosis"), Path(".baton/experiments"))
    for pipeline in experiment.leaderboard():
        print(pipeline.rank, pipeline.number, pipeline.algorithm, pipeline.metrics["roc_auc"].mean)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from experiments.experiment import (
    Experiment,
    ExperimentError,
    Pipeline,
    Spread,
    experiments,
    load,
)

if TYPE_CHECKING:
    from experiments.data import DataError
    from experiments.running import Plan, Progress, run, save_pipeline

# Who only reads experiments, as the console does, need not wait for scikit-learn.
_WITH_SKLEARN = {
    "DataError": "experiments.data",
    "Plan": "experiments.running",
    "Progress": "experiments.running",
    "run": "experiments.running",
    "save_pipeline": "experiments.running",
}

__all__ = [
    "DataError",
    "Experiment",
    "ExperimentError",
    "Pipeline",
    "Plan",
    "Progress",
    "Spread",
    "experiments",
    "load",
    "run",
    "save_pipeline",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is (PEP 562)
    if name not in _WITH_SKLEARN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WITH_SKLEARN[name]), name)
