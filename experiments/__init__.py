"""Experiments: where models come from. Data in, cross-validated pipelines and a leaderboard out.

Everything that a page or a console shows of one is in ``Experiment``, and ``run``, ``load`` and
``experiments`` make it::

    experiment = run(frame, Plan("breast-cancer", target="diagnosis"), Path(".baton/experiments"))
    for pipeline in experiment.leaderboard():
        print(pipeline.rank, pipeline.number, pipeline.algorithm, pipeline.metrics["roc_auc"].mean)
"""

from experiments.data import DataError
from experiments.experiment import (
    Experiment,
    ExperimentError,
    Pipeline,
    Spread,
    experiments,
    load,
)
from experiments.running import Plan, Progress, run, save_pipeline

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
