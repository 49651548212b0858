"""An experiment's page: its leaderboard and plots, in one file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments import plots
from experiments.experiment import Experiment

TEMPLATE = "page.html.j2"


def page(experiment: Experiment) -> str:
    """Return the page as HTML: no script, nothing loaded, readable in light and dark."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(experiment=experiment, plots=plots)
