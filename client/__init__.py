"""What people use: clients for commands, scoring and the audit log, and the ``baton`` command.

client.sync has the same clients for programs without asyncio.
"""

from client.audit import AuditEvent, events
from client.commands import BatonClient
from client.errors import (
    CommandIdReusedError,
    CommandRejected,
    CommandTooLargeError,
    OutcomeTimeout,
    ScoringError,
    UpdateFailed,
)
from client.outcome import Outcome
from client.revisions import Revisions
from client.scoring import ScoreRequest, ScoreResult, ScoringClient

__all__ = [
    "AuditEvent",
    "BatonClient",
    "CommandIdReusedError",
    "CommandRejected",
    "CommandTooLargeError",
    "Outcome",
    "OutcomeTimeout",
    "Revisions",
    "ScoreRequest",
    "ScoreResult",
    "ScoringClient",
    "ScoringError",
    "UpdateFailed",
    "events",
    "save_model",
]


def __getattr__(name: str) -> object:
    # scikit-learn takes a second to import, and most users of this package never save a model.
    if name == "save_model":
        from artifacts.save import save_model  # noqa: PLC0415 - see above

        return save_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
