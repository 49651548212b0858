"""What a client raises."""

from typing import TYPE_CHECKING

from schemas.errors import BatonError

if TYPE_CHECKING:
    from client.audit import AuditEvent
    from schemas.checks import Check


class CommandRejected(BatonError):  # noqa: N818 - it is an answer
    """A command was refused and changed nothing. ``rejection`` is the stable code."""

    code = "command_rejected"

    def __init__(self, event: "AuditEvent") -> None:
        data = event.data
        super().__init__(f"{data.code}: {data.message}")
        self.event = event
        self.rejection = data.code or ""
        self.message = data.message or ""
        self.checks: tuple[Check, ...] = data.checks or ()


class UpdateFailed(BatonError):  # noqa: N818 - it is an answer
    """A candidate failed its verification; what served before goes on serving."""

    code = "update_failed"

    def __init__(self, event: "AuditEvent") -> None:
        self.event = event
        self.checks: tuple[Check, ...] = event.data.checks or ()
        failed = ", ".join(check.name for check in self.checks if not check.passed)
        super().__init__(f"the candidate failed its verification: {failed}")


class CommandTooLargeError(BatonError):
    """A command is larger than the broker takes: nothing was published."""

    code = "command_too_large"

    def __init__(self, command_id: str, size: int, limit: int, topic: str) -> None:
        super().__init__(
            f"command {command_id} has {size} bytes, topic {topic} takes at most {limit}: send "
            "less, e.g. fewer sample rows or a shorter text"
        )
        self.command_id = command_id
        self.size = size
        self.limit = limit


class CommandIdReusedError(BatonError):
    """The id belongs to another command of this source. This one had no effect and gets no event.

    ``event`` is how that other command ended.
    """

    code = "command_id_reused"

    def __init__(self, event: "AuditEvent") -> None:
        data = event.data
        super().__init__(
            f"id {data.command_id} was used before, by a {data.command_type} in space "
            f"{data.space_id} that ended with {event.name}: this command did nothing; send it with "
            "an id of its own"
        )
        self.event = event


class OutcomeTimeout(BatonError, TimeoutError):  # noqa: N818 - as TimeoutError
    """No outcome in time. The command may still be applied; ask again with the same id."""

    code = "outcome_timeout"

    def __init__(self, command_id: str, timeout_s: float) -> None:
        super().__init__(
            f"no outcome of command {command_id} after {timeout_s:g} s: is a worker running? It "
            "may still be applied; sending it again with this id has no second effect"
        )
        self.command_id = command_id


class ScoringError(BatonError):
    """A request was answered with an error. ``reason`` is its code, ``field`` what is at fault.

    ``asset_id`` and ``revision`` are of what served the deployment; None where nothing did.
    """

    code = "scoring_error"

    def __init__(  # noqa: PLR0913 - what the answer says
        self,
        request_id: str,
        reason: str,
        message: str,
        field: str | None = None,
        *,
        asset_id: str | None = None,
        revision: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.asset_id = asset_id
        self.revision = revision
        self.request_id = request_id
        self.reason = reason
        self.message = message
        self.field = field
