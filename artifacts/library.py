"""The models that were saved in a folder: a manifest's file for each, under the model's name."""

import os
import re
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import BatonError
from schemas.faults import first_fault
from schemas.manifest import Manifest


class NameTakenError(BatonError):
    """A model of that name was saved before."""

    code = "name_taken"


def manifest_path(folder: Path, name: str) -> Path:
    """Return where the manifest of the model ``name`` lies in ``folder``."""
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.json"


def read_manifest(model: Path, folder: Path) -> Manifest:
    """Return the manifest in the file ``model``, or of the model saved under that name."""
    path = model if model.is_file() else manifest_path(folder, str(model))
    try:
        return Manifest.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise BatonError(
            f"there is no model {model}: save it by `baton model save`, or give its manifest file"
        ) from None
    except ValidationError as error:
        raise BatonError(f"{path} is no manifest: {first_fault(error)}") from None
    except UnicodeDecodeError as error:
        raise BatonError(f"{path} is no manifest: {error}") from None
    except OSError as error:
        raise BatonError(f"cannot read the manifest {path}: {error}") from error


def write_manifest(goal: Path, manifest: Manifest, *, new: bool = False) -> None:
    """Write so that ``goal`` is whole, or what it was: a full disk takes no manifest away.

    A ``new`` one replaces none: raises NameTakenError where ``goal`` is there, whoever made it.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    scratch = goal.with_name(f".{goal.name}.{os.getpid()}")
    try:
        scratch.write_text(manifest.model_dump_json(indent=2, exclude_none=True) + "\n")
        if new:
            # Unlike a rename it fails where the name is taken, in one step.
            goal.hardlink_to(scratch)
            scratch.unlink()
        else:
            scratch.replace(goal)
    except FileExistsError:
        scratch.unlink(missing_ok=True)
        raise NameTakenError(
            f"there is a model {manifest.name} already: give another name"
        ) from None
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise BatonError(f"cannot write the manifest {goal}: {error}") from error


def manifests(folder: Path) -> list[Manifest]:
    """Return the manifests in ``folder``, by name."""
    return [read_manifest(path, folder) for path in manifest_files(folder)]


def manifest_files(folder: Path) -> list[Path]:
    """Return the files of the manifests in ``folder``, by name."""
    return sorted(folder.glob("[!.]*.json"))
