"""One command before the rules: what all of them ask of it, and how they answer."""

from typing import Any

from schemas.checks import Check, Code
from schemas.commands import Compatibility, ReplaceAsset, RollbackDeployment
from schemas.events import AssetAt, Event, EventName
from schemas.gate import gate, summary, verdict
from schemas.ids import minted_id
from schemas.records import (
    ACCEPTED,
    DeployedAsset,
    DeploymentRecord,
    Pending,
    Record,
    Saga,
    Status,
    Trial,
    record_key,
)
from schemas.times import rfc3339
from worker.lifecycle.command import Command
from worker.lifecycle.decision import Decision, Origin, Refusal, served
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View, Work


class Case:
    """One command before the rules."""

    def __init__(self, view: View, command: Command, now_ms: int, rules: Rules) -> None:
        self.view = view
        self.command = command
        self.now_ms = now_ms
        self.now = rfc3339(now_ms)
        self.rules = rules
        data = command.data
        more: dict[str, Any] = {}
        # A rejection names what it is about, as far as the command did.
        for name in ("deployment_id", "asset_id"):
            if (value := getattr(data, name, None)) is not None:
                more[name] = value
        if getattr(data, "dry_run", False):
            more["dry_run"] = True
        self.origin = Origin(
            command.key,
            command.source,
            command.id,
            command.type,
            command.actor,
            data.space_id,
            now_ms,
            more,
            command.trace,
        )

    def done(self, event: Event, key: str, record: Record) -> Decision:
        """Return the decision of a command that ends at once."""
        return Decision((event,), ((key, record), self.origin.remembered("done", key)))

    def begin(  # noqa: PLR0913 - a change is all of these
        self,
        record: DeploymentRecord,
        saga: Saga,
        status: Status,
        candidate: DeployedAsset,
        checks: tuple[Check, ...],
        *,
        to_revision: int | None = None,
    ) -> Decision:
        """Return the decision to begin a change: pending until its candidate is verified."""
        data = self.command.data
        reason = data.reason if isinstance(data, ReplaceAsset | RollbackDeployment) else None
        comment = data.comment if isinstance(data, ReplaceAsset | RollbackDeployment) else None
        pending = Pending(
            saga=saga,
            asset=candidate,
            command_id=self.command.id,
            command_source=self.command.source,
            command_key=self.command.key,
            command_type=self.command.type,
            actor=self.command.actor,
            reason=reason,
            comment=comment,
            since=self.now,
            deadline=self.deadline(),
            checks=checks,
            to_revision=to_revision,
            trace=self.command.trace,
        )
        updated = record.model_copy(
            update={"status": status, "pending": pending, "last_update": self.now}
        )
        key = record_key("deployment", record.deployment_id)
        event = self.origin.event(
            EventName.UPDATE_STARTED,
            key,
            deployment_id=record.deployment_id,
            name=record.name,
            description=record.description,
            status=status.value,
            revision=record.revision,
            before=served(record),
            after=AssetAt(asset_id=candidate.asset_id, revision=record.revision + 1),
            reason=reason,
            comment=comment,
            checks=checks,
        )
        work = Work(
            "deployment",
            record.deployment_id,
            self.command.key,
            candidate.manifest,
            pending.deadline,
            self.command.id,
            self.command.trace,
        )
        remembered = self.origin.remembered(ACCEPTED, key)
        return Decision((event,), ((key, updated), remembered), (work,))

    def trial(
        self, record: DeploymentRecord, candidate: DeployedAsset, checks: tuple[Check, ...]
    ) -> Decision:
        """Return the decision of a dry run that passed the gate: verify, and change nothing."""
        trial = Trial(
            command_key=self.command.key,
            deployment_id=record.deployment_id,
            asset=candidate,
            actor=self.command.actor,
            since=self.now,
            deadline=self.deadline(),
            checks=checks,
            trace=self.command.trace,
        )
        work = Work(
            "trial",
            self.command.key,
            self.command.key,
            candidate.manifest,
            trial.deadline,
            self.command.id,
            self.command.trace,
        )
        subject = record_key("deployment", record.deployment_id)
        return Decision((), (self.origin.remembered(ACCEPTED, subject, trial),), (work,))

    def deadline(self) -> str:
        """Return when a change that begins now is too old: RFC 3339 UTC."""
        return rfc3339(self.now_ms + self.rules.update_deadline_ms)

    def space(self, space_id: str) -> None:
        """Refuse where there is no such space."""
        if self.view.space(space_id) is None:
            raise Refusal(Code.SPACE_NOT_FOUND, f"there is no space {space_id}")

    def asset(self, space_id: str, asset_id: str) -> DeployedAsset:
        """Return the asset if it is in the space."""
        asset = self.view.asset(asset_id)
        if asset is None or asset.space_id != space_id or asset.manifest is None:
            gone = asset is not None and asset.deleted and asset.space_id == space_id
            raise Refusal(
                Code.ASSET_NOT_FOUND,
                f"asset {asset_id} was deleted"
                if gone
                else f"there is no asset {asset_id} in space {space_id}",
            )
        return DeployedAsset(asset_id=asset_id, manifest=asset.manifest)

    def settled(
        self, space_id: str, deployment_id: str, expected_revision: int | None
    ) -> DeploymentRecord:
        """Return the deployment if it is there, at rest, and at the revision expected."""
        self.space(space_id)
        record = self.view.deployment(deployment_id)
        if record is None or record.space_id != space_id or record.status is Status.DELETED:
            raise Refusal(
                Code.DEPLOYMENT_NOT_FOUND,
                f"there is no deployment {deployment_id} in space {space_id}",
            )
        if record.pending is not None:
            check = Check(
                name="at_rest",
                passed=False,
                expected="no change under way",
                actual=f"{record.pending.saga} to {record.pending.asset.asset_id} "
                f"since {record.pending.since}",
                hint="wait for its deployment-updated or update-failed event",
            )
            raise Refusal(
                Code.UPDATE_IN_PROGRESS,
                f"deployment {deployment_id} is {record.status}: a change is under way",
                (check,),
            )
        if expected_revision is not None and expected_revision != record.revision:
            check = Check(
                name="expected_revision",
                passed=False,
                expected=expected_revision,
                actual=record.revision,
                hint="someone else changed the deployment: look at it again, then decide",
            )
            raise Refusal(
                Code.REVISION_CONFLICT,
                f"deployment {deployment_id} is at revision {record.revision}, "
                f"not {expected_revision}",
                (check,),
            )
        return record

    def differs(self, record: DeploymentRecord, candidate: DeployedAsset) -> None:
        """Refuse where the deployment serves the candidate already."""
        if record.asset is not None and record.asset.asset_id == candidate.asset_id:
            raise Refusal(
                Code.SAME_ASSET,
                f"deployment {record.deployment_id} serves asset {candidate.asset_id} already",
            )

    def minted(self, kind: str) -> str:
        """Return the ID that this command gives to what it makes."""
        command = self.command
        return minted_id(kind, command.data.space_id, command.source, command.id)

    def gated(
        self,
        record: DeploymentRecord | None,
        candidate: DeployedAsset,
        compatibility: Compatibility = Compatibility.EXACT,
        *,
        allow_output_change: bool = False,
    ) -> tuple[Check, ...]:
        """Return the gate's checks where all of them passed; refuse by the first that failed."""
        current = record.asset.manifest if record is not None and record.asset is not None else None
        checks = (
            self.rules.framework_check(candidate.manifest.framework),
            *gate(
                current,
                candidate.manifest,
                compatibility,
                allow_output_change=allow_output_change,
            ),
        )
        code = verdict(checks)
        if code is not None:
            raise Refusal(
                code,
                f"asset {candidate.asset_id} cannot be deployed here: {summary(checks)}",
                checks,
            )
        return checks
