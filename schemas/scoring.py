"""Scoring messages: header names and error codes. The agent's codecs read and write the bodies."""

from enum import StrEnum

DEPLOYMENT_ID = "deployment-id"
REQUEST_ID = "request-id"
MIN_REVISION = "min-revision"
DEADLINE = "deadline"
ASSET_ID = "asset-id"
REVISION = "revision"
STATUS = "status"


class ScoringCode(StrEnum):
    """Why a request was answered with an error."""

    DEPLOYMENT_NOT_FOUND = "deployment_not_found"
    DEPLOYMENT_NOT_READY = "deployment_not_ready"
    DEPLOYMENT_DELETED = "deployment_deleted"
    INVALID_REQUEST = "invalid_request"
    SCHEMA_MISMATCH = "schema_mismatch"
    ASSET_UNAVAILABLE = "asset_unavailable"
    MODEL_ERROR = "model_error"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    REVISION_TIMEOUT = "revision_timeout"
