"""Why a request gets an error for an answer, and why an agent ends."""

from schemas.errors import BatonError, SettingsError
from schemas.scoring import ScoringCode

__all__ = ["AgentError", "ScoringError", "SettingsError"]


class ScoringError(BatonError):
    """One request cannot be scored: the answer carries ``reason``, the message and ``field``.

    ``field`` names the header, body member or input field at fault, where there is one.
    """

    code = "scoring_error"

    def __init__(self, reason: ScoringCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


def invalid(message: str, field: str | None = None) -> ScoringError:
    """Return an ``invalid_request``: the message is not what either protocol says."""
    return ScoringError(ScoringCode.INVALID_REQUEST, message, field)


def mismatch(message: str, field: str | None = None) -> ScoringError:
    """Return a ``schema_mismatch``: the rows are not what the asset's input schema says."""
    return ScoringError(ScoringCode.SCHEMA_MISMATCH, message, field)


class AgentError(BatonError):
    """The agent cannot go on: it ends, and its successor goes on from the committed offsets."""

    code = "agent_error"
