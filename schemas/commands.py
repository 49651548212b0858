"""The seven commands. Type ``baton.command.<name>.v1``; unknown fields are refused by name."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.ids import Id
from schemas.manifest import Manifest

PREFIX = "baton.command."
SUFFIX = ".v1"

Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=10_000)]
Revision = Annotated[int, Field(ge=0, strict=True)]


class Reason(StrEnum):
    """Why an asset is replaced."""

    ACCURACY = "accuracy"
    DATA_DRIFT = "data_drift"
    ERRORS = "errors"
    SCHEMA_MISMATCH = "schema_mismatch"
    SCHEDULED_REFRESH = "scheduled_refresh"
    SCORING_SPEED = "scoring_speed"
    DEPRECATION = "deprecation"
    OTHER = "other"


class Compatibility(StrEnum):
    """How alike the candidate's input schema must be: the same, or one that asks for no more."""

    EXACT = "exact"
    COMPATIBLE = "compatible"


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    space_id: Id


class CreateSpace(_Command):
    """Make a deployment space."""

    name: Name
    description: Text | None = None


class PromoteAsset(_Command):
    """Copy a model's manifest into a space as an asset; without ``asset_id`` one is minted."""

    asset_id: Id | None = None
    manifest: Manifest


class CreateDeployment(_Command):
    """Deploy an asset under a new deployment ID, minted from the command's source and id."""

    asset_id: Id
    name: Name
    description: Text | None = None


class ReplaceAsset(_Command):
    """Point a deployment to another asset of its space. ``dry_run`` reports and changes nothing."""

    deployment_id: Id
    asset_id: Id
    expected_revision: Revision | None = None
    reason: Reason | None = None
    comment: Text | None = None
    compatibility: Compatibility = Compatibility.EXACT
    allow_output_change: bool = False
    dry_run: bool = False


class RollbackDeployment(_Command):
    """Go back to the asset of ``to_revision``, or of the revision before the current one."""

    deployment_id: Id
    to_revision: Revision | None = None
    expected_revision: Revision | None = None
    reason: Reason | None = None
    comment: Text | None = None


class DeleteDeployment(_Command):
    """End a deployment. Its ID never comes back."""

    deployment_id: Id
    expected_revision: Revision | None = None


class DeleteAsset(_Command):
    """Remove an asset that no deployment uses or awaits. Its ID never comes back."""

    asset_id: Id


CommandData = (
    CreateSpace
    | PromoteAsset
    | CreateDeployment
    | ReplaceAsset
    | RollbackDeployment
    | DeleteDeployment
    | DeleteAsset
)

COMMANDS: dict[str, type[CommandData]] = {
    "create-space": CreateSpace,
    "promote-asset": PromoteAsset,
    "create-deployment": CreateDeployment,
    "replace-asset": ReplaceAsset,
    "rollback-deployment": RollbackDeployment,
    "delete-deployment": DeleteDeployment,
    "delete-asset": DeleteAsset,
}

_NAMES = {model: name for name, model in COMMANDS.items()}


def command_type(data: CommandData) -> str:
    """Return the CloudEvents type of a command, e.g. ``baton.command.create-space.v1``."""
    return f"{PREFIX}{_NAMES[type(data)]}{SUFFIX}"


def command_name(ce_type: str) -> str | None:
    """Return the name in a command's CloudEvents type, or None where it is no known command."""
    name = ce_type.removeprefix(PREFIX).removesuffix(SUFFIX)
    return name if name in COMMANDS and ce_type == f"{PREFIX}{name}{SUFFIX}" else None
