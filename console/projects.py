"""Experiments and saved models, in the folders where the ``baton`` command keeps them.

Only what a listing of the folder names is ever opened: no name in an address leads out of it. All
of this reads files: in a thread of its own. One that cannot be read is told, and hides no other.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import experiments
from artifacts import library
from console.problems import Problem
from experiments.experiment import DOCUMENT, names
from schemas.errors import BatonError
from schemas.manifest import Manifest
from schemas.times import rfc3339

# A page that is open reads its list again at each event: what has not changed is not parsed again.
KEPT_ROWS = 2000
# Of a document. While one is parsed the interpreter does nothing else: 25 ms a MiB.
LARGEST_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment in a list, with its best pipeline; ``fault`` says why it cannot be shown."""

    name: str
    when: str
    data: str = ""
    target: str = ""
    task: str = ""
    rows: int = 0
    pipelines: int = 0
    metric: str = ""
    best: float = 0.0
    algorithm: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A saved model in a list. ``key`` names its file; ``fault`` says why it cannot be shown."""

    key: str
    name: str
    when: str
    description: str = ""
    tags: tuple[str, ...] = ()
    project: str = ""
    framework: str = ""
    task: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    fault: str = ""


def experiments_folder(home: Path) -> Path:
    """Return where the experiments lie."""
    return home / "experiments"


def models_folder(home: Path) -> Path:
    """Return where the manifests of models lie."""
    return home / "models"


def experiment_rows(home: Path) -> list[ExperimentRow]:
    """Return every experiment, the newest first."""
    root = experiments_folder(home)
    found = [_experiment_row(root, name) for name in names(root)]
    return sorted(found, key=lambda row: row.when, reverse=True)


def model_rows(home: Path) -> list[ModelRow]:
    """Return every saved model, the newest first."""
    found = [_model_row(path) for path in library.manifest_files(models_folder(home))]
    return sorted(found, key=lambda row: row.when, reverse=True)


def find_experiment(home: Path, name: str) -> experiments.Experiment:
    """Return the experiment ``name``. Raises Problem: there is none, or it cannot be read."""
    root = experiments_folder(home)
    if name not in names(root):
        raise Problem(404, "experiment_not_found", f"there is no experiment {name}")
    try:
        _version(root / name / DOCUMENT)
        return _experiment(root, name)
    except (BatonError, OSError) as error:
        raise Problem(422, "invalid_experiment", str(error)) from None


def has_model(home: Path, key: str) -> bool:
    """Return whether there is a saved model ``key``."""
    return key in _model_files(home)


def find_model(home: Path, key: str) -> tuple[Manifest, str]:
    """Return a model's manifest, and when it was saved. Raises Problem as ``find_experiment``."""
    files = _model_files(home)
    if key not in files:
        raise Problem(404, "model_not_found", f"there is no saved model {key}")
    try:
        _version(files[key])
        return library.read_manifest(files[key], files[key].parent), _saved_at(files[key])
    except (BatonError, OSError) as error:
        raise Problem(422, "invalid_model", str(error)) from None


def _model_files(home: Path) -> dict[str, Path]:
    return {path.stem: path for path in library.manifest_files(models_folder(home))}


def _experiment(root: Path, name: str) -> experiments.Experiment:
    found = experiments.load(root, name)
    if found.name != name:
        # What is saved from it is looked up by the name that it gives itself.
        raise experiments.ExperimentError(
            f"{root / name} holds experiment {found.name}: name the folder so"
        )
    return found


def _experiment_row(root: Path, name: str) -> ExperimentRow:
    path = root / name / DOCUMENT
    try:
        return _read_experiment(root, name, *_version(path))
    except (BatonError, OSError) as error:
        return ExperimentRow(_text(name), _saved_at(path), fault=_text(str(error)))


@lru_cache(KEPT_ROWS)
def _read_experiment(root: Path, name: str, *version: int) -> ExperimentRow:
    del version
    found = _experiment(root, name)
    best = found.leaderboard()[0]
    return ExperimentRow(
        found.name,
        found.created_at,
        found.data or "",
        found.target,
        found.task,
        found.rows,
        sum(pipeline.error is None for pipeline in found.pipelines),
        found.ranked_by,
        best.metrics[found.ranked_by].mean,
        best.algorithm,
    )


def _model_row(path: Path) -> ModelRow:
    try:
        # A name that is no text can be in no address.
        path.name.encode()
        return _read_model(path, *_version(path))
    except (BatonError, OSError, UnicodeEncodeError) as error:
        name = _text(path.stem)
        return ModelRow(name, name, _saved_at(path), fault=_text(str(error)))


@lru_cache(KEPT_ROWS)
def _read_model(path: Path, *version: int) -> ModelRow:
    del version
    found = library.read_manifest(path, path.parent)
    return ModelRow(
        path.stem,
        found.name,
        _saved_at(path),
        found.description or "",
        found.tags,
        found.project_id or "",
        f"{found.framework.name} {found.framework.version}",
        found.output_schema.task if found.output_schema else "",
        found.metrics,
    )


def _version(path: Path) -> tuple[int, int, int]:
    """Return what changes with the file's content. Raises BatonError where it is too large."""
    found = path.stat()
    if found.st_size > LARGEST_BYTES:
        raise BatonError(
            f"{path} has {found.st_size} bytes, and a page shows at most {LARGEST_BYTES}: "
            "use the baton command"
        )
    return found.st_mtime_ns, found.st_size, found.st_ino


def _saved_at(path: Path) -> str:
    try:
        return rfc3339(path.stat().st_mtime_ns // 1_000_000)
    except OSError:
        return ""


def _text(name: str) -> str:
    """Return what a file is called, as it can be shown: a name need not be text."""
    return name.encode(errors="replace").decode()
