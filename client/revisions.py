"""Read your writes: the latest revision of each deployment that a program has been told of."""

from client.audit import AuditEvent
from client.outcome import Outcome
from schemas.events import EventName


class Revisions:
    """What is asked of a deployment from here on is answered by no older revision.

    Fed by the outcomes and events that are told to ``see``. A BatonClient tells its own; give its
    ``revisions`` to a ScoringClient, and each request that names no ``min_revision`` gets this one.
    """

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def see(self, told: Outcome | AuditEvent) -> None:
        """Remember the revision that an outcome or an event of the audit log tells of."""
        event = told.event if isinstance(told, Outcome) else told
        deployment_id, revision = event.data.deployment_id, event.data.revision
        if deployment_id is None or not revision:
            return
        if event.name == EventName.DEPLOYMENT_DELETED:
            self._latest.pop(deployment_id, None)
        else:
            self._latest[deployment_id] = max(revision, self.of(deployment_id) or 0)

    def of(self, deployment_id: str) -> int | None:
        """Return the latest revision known, or None."""
        return self._latest.get(deployment_id)
