"""Checks and rejection codes: how Baton says what it refused and why."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """One thing that was tested: what was expected, what came, what to do about it."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    expected: Any = None
    actual: Any = None
    hint: str = ""


class Code(StrEnum):
    """Why a command was rejected. Stable: other people's programs branch on them."""

    INVALID_COMMAND = "invalid_command"
    SPACE_NOT_FOUND = "space_not_found"
    SPACE_EXISTS = "space_exists"
    ASSET_NOT_FOUND = "asset_not_found"
    ASSET_EXISTS = "asset_exists"
    ASSET_IN_USE = "asset_in_use"
    DEPLOYMENT_NOT_FOUND = "deployment_not_found"
    DEPLOYMENT_EXISTS = "deployment_exists"
    UPDATE_IN_PROGRESS = "update_in_progress"
    REVISION_CONFLICT = "revision_conflict"
    SAME_ASSET = "same_asset"
    FRAMEWORK_INCOMPATIBLE = "framework_incompatible"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_MISMATCH = "schema_mismatch"
    OUTPUT_MISMATCH = "output_mismatch"
    NO_SUCH_REVISION = "no_such_revision"
    STORE_NOT_ALLOWED = "store_not_allowed"


# The checks of a verification, in the order they are made.
VERIFICATION_CHECKS = (
    "digest",
    "load",
    "framework_version",
    "features",
    "classes",
    "sample_prediction",
    "time_limit",
    "memory_limit",
)
