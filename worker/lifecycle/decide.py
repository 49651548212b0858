"""The rules: what a command does to the state of its partition, or why it does nothing."""

from dataclasses import dataclass, field
from typing import Any

from schemas.checks import Check, Code
from schemas.cloudevents import CloudEvent
from schemas.commands import (
    Compatibility,
    CreateDeployment,
    CreateSpace,
    DeleteAsset,
    DeleteDeployment,
    PromoteAsset,
    ReplaceAsset,
    RollbackDeployment,
)
from schemas.events import AssetAt, Event, EventData, EventName
from schemas.ids import command_key, minted_id
from schemas.records import (
    AssetRecord,
    CommandRecord,
    DeployedAsset,
    DeploymentRecord,
    Pending,
    Record,
    Saga,
    SpaceRecord,
    Status,
    Trial,
    record_key,
)
from schemas.times import rfc3339
from worker.lifecycle.command import Command, InvalidCommandError
from worker.lifecycle.gate import gate, summary, verdict
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View, Work


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: events for the log, records for the table, verifications to begin."""

    events: tuple[Event, ...] = ()
    records: tuple[tuple[str, Record | None], ...] = ()
    verify: tuple[Work, ...] = ()


NOTHING = Decision()


def decide(view: View, command: Command, now_ms: int, rules: Rules) -> Decision:
    """Decide ``command`` over ``view``. Pure and total: it always ends in a decision.

    ``now_ms`` is the message's time. A command seen before decides nothing.
    """
    if view.command(command.key) is not None:
        return NOTHING
    case = _Case(view, command, now_ms, rules)
    try:
        return case.decide()
    except _Refusal as refusal:
        return case.rejected(refusal)


def reject_invalid(
    view: View, event: CloudEvent, invalid: InvalidCommandError, now_ms: int
) -> Decision:
    """Decide a command that does not fit its schema: it is rejected, once."""
    key = command_key(event.source, event.id)
    if view.command(key) is not None:
        return NOTHING
    space = event.data.get("space_id") if isinstance(event.data, dict) else None
    return _rejection(
        _Origin(
            key=key,
            source=event.source,
            id=event.id,
            type=event.type,
            actor=event.attributes.get("actor"),
            space_id=space if isinstance(space, str) else None,
            now_ms=now_ms,
        ),
        _Refusal(Code.INVALID_COMMAND, str(invalid), invalid.checks),
    )


class _Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    def __init__(self, code: Code, message: str, checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.checks = checks


@dataclass(frozen=True, slots=True)
class _Origin:
    key: str
    source: str
    id: str
    type: str
    actor: str | None
    space_id: str | None
    now_ms: int
    more: dict[str, Any] = field(default_factory=dict)

    def remembered(
        self, outcome: str, subject: str | None, trial: Trial | None = None
    ) -> tuple[str, Record]:
        return record_key("command", self.key), CommandRecord(
            space_id=self.space_id,
            command_id=self.id,
            source=self.source,
            command_type=self.type,
            outcome=outcome,
            subject=subject,
            at_ms=self.now_ms,
            trial=trial,
        )

    def event(self, name: EventName, subject: str, /, **data: Any) -> Event:  # noqa: ANN401
        return Event(
            name=name,
            subject=subject,
            time=rfc3339(self.now_ms),
            causation_source=self.source,
            data=EventData(
                space_id=self.space_id,
                command_id=self.id,
                command_type=self.type,
                actor=self.actor,
                **data,
            ),
        )


def _rejection(origin: _Origin, refusal: _Refusal) -> Decision:
    event = origin.event(
        EventName.COMMAND_REJECTED,
        f"command/{origin.id}",
        code=refusal.code.value,
        message=refusal.message,
        checks=refusal.checks,
        **origin.more,
    )
    return Decision((event,), (origin.remembered(refusal.code.value, None),))


class _Case:
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
        self.origin = _Origin(
            command.key,
            command.source,
            command.id,
            command.type,
            command.actor,
            data.space_id,
            now_ms,
            more,
        )

    def decide(self) -> Decision:  # noqa: PLR0911 - one for each command
        match self.command.data:
            case CreateSpace() as data:
                return self._create_space(data)
            case PromoteAsset() as data:
                return self._promote(data)
            case CreateDeployment() as data:
                return self._create_deployment(data)
            case ReplaceAsset() as data:
                return self._replace(data)
            case RollbackDeployment() as data:
                return self._rollback(data)
            case DeleteDeployment() as data:
                return self._delete_deployment(data)
            case DeleteAsset() as data:
                return self._delete_asset(data)

    def rejected(self, refusal: _Refusal) -> Decision:
        return _rejection(self.origin, refusal)

    def _create_space(self, data: CreateSpace) -> Decision:
        if self.view.space(data.space_id) is not None:
            raise _Refusal(Code.SPACE_EXISTS, f"space {data.space_id} exists already")
        record = SpaceRecord(
            space_id=data.space_id,
            name=data.name,
            description=data.description,
            created_at=self.now,
            command_id=self.command.id,
        )
        subject = record_key("space", data.space_id)
        event = self.origin.event(
            EventName.SPACE_CREATED, subject, name=data.name, description=data.description
        )
        return self._done(event, subject, record)

    def _promote(self, data: PromoteAsset) -> Decision:
        self._space(data.space_id)
        asset_id = data.asset_id or self._minted("asset")
        known = self.view.asset(asset_id)
        if known is not None:
            where = "" if known.space_id == data.space_id else f" in space {known.space_id}"
            was = "was deleted" if known.deleted else f"exists already{where}"
            raise _Refusal(
                Code.ASSET_EXISTS,
                f"asset {asset_id} {was}; asset IDs are never used twice: leave it out to get a "
                "new one",
            )
        check = self.rules.store_check(data.manifest.uri)
        if not check.passed:
            raise _Refusal(
                Code.STORE_NOT_ALLOWED,
                f"{data.manifest.uri} is outside the stores this deployment space may read",
                (check,),
            )
        record = AssetRecord(
            space_id=data.space_id,
            asset_id=asset_id,
            manifest=data.manifest,
            created_at=self.now,
            command_id=self.command.id,
        )
        subject = record_key("asset", asset_id)
        event = self.origin.event(
            EventName.ASSET_PROMOTED,
            subject,
            asset_id=asset_id,
            manifest=data.manifest.model_dump(mode="json", exclude_none=True),
        )
        return self._done(event, subject, record)

    def _create_deployment(self, data: CreateDeployment) -> Decision:
        self._space(data.space_id)
        candidate = self._asset(data.space_id, data.asset_id)
        if (holder := self.view.deployment_named(data.space_id, data.name)) is not None:
            raise _Refusal(
                Code.DEPLOYMENT_EXISTS,
                f"space {data.space_id} has a deployment named {data.name!r}: {holder}",
            )
        deployment_id = self._minted("deployment")
        if self.view.deployment(deployment_id) is not None:
            raise _Refusal(
                Code.DEPLOYMENT_EXISTS, f"deployment {deployment_id} exists or has existed"
            )
        checks = self._gated(None, candidate)
        record = DeploymentRecord(
            space_id=data.space_id,
            deployment_id=deployment_id,
            name=data.name,
            description=data.description,
            status=Status.INITIALIZING,
            revision=0,
            asset=None,
            created_at=self.now,
            last_update=self.now,
        )
        return self._begin(record, Saga.CREATE, Status.INITIALIZING, candidate, checks)

    def _replace(self, data: ReplaceAsset) -> Decision:
        record = self._settled(data.space_id, data.deployment_id, data.expected_revision)
        candidate = self._asset(data.space_id, data.asset_id)
        self._differs(record, candidate)
        checks = self._gated(
            record, candidate, data.compatibility, allow_output_change=data.allow_output_change
        )
        if data.dry_run:
            return self._try(record, candidate, checks)
        return self._begin(record, Saga.REPLACE, Status.UPDATING, candidate, checks)

    def _rollback(self, data: RollbackDeployment) -> Decision:
        record = self._settled(data.space_id, data.deployment_id, data.expected_revision)
        earlier = [entry for entry in record.history if entry.revision < record.revision]
        if data.to_revision is not None:
            earlier = [entry for entry in earlier if entry.revision == data.to_revision]
        if not earlier:
            known = [e.revision for e in record.history if e.revision < record.revision]
            wanted = "the previous one" if data.to_revision is None else str(data.to_revision)
            check = Check(
                name="to_revision",
                passed=False,
                expected=known,
                actual=data.to_revision,
                hint="a rollback goes to one of the last 20 revisions before the current one",
            )
            raise _Refusal(
                Code.NO_SUCH_REVISION,
                f"deployment {record.deployment_id} has no revision to go back to: {wanted}",
                (check,),
            )
        target = earlier[-1]
        candidate = self._asset(data.space_id, target.asset_id)
        self._differs(record, candidate)
        # No schema gate: the asset has served here, and going back must always be possible.
        checks = self._gated(None, candidate)
        return self._begin(
            record, Saga.ROLLBACK, Status.UPDATING, candidate, checks, to_revision=target.revision
        )

    def _delete_deployment(self, data: DeleteDeployment) -> Decision:
        record = self._settled(data.space_id, data.deployment_id, data.expected_revision)
        # The marker stays for good: a deleted ID never comes back, and clients are told so.
        marker = record.model_copy(
            update={
                "status": Status.DELETED,
                "asset": None,
                "pending": None,
                "history": (),
                "last_update": self.now,
            }
        )
        subject = record_key("deployment", record.deployment_id)
        event = self.origin.event(
            EventName.DEPLOYMENT_DELETED,
            subject,
            deployment_id=record.deployment_id,
            status=Status.DELETED.value,
            revision=record.revision,
            before=_served(record),
        )
        return self._done(event, subject, marker)

    def _delete_asset(self, data: DeleteAsset) -> Decision:
        self._space(data.space_id)
        asset = self._asset(data.space_id, data.asset_id)
        users = sorted(self.view.users(data.asset_id))
        if users:
            check = Check(
                name="unused",
                passed=False,
                expected=[],
                actual=users,
                hint="replace it in these deployments, or delete them",
            )
            raise _Refusal(
                Code.ASSET_IN_USE,
                f"asset {data.asset_id} is used or awaited by {len(users)} deployment(s)",
                (check,),
            )
        subject = record_key("asset", asset.asset_id)
        marker = AssetRecord(
            space_id=data.space_id,
            asset_id=data.asset_id,
            manifest=None,
            created_at=self.now,
            command_id=self.command.id,
            deleted=True,
        )
        event = self.origin.event(EventName.ASSET_DELETED, subject, asset_id=data.asset_id)
        return self._done(event, subject, marker)

    # What the commands share.

    def _done(self, event: Event, key: str, record: Record) -> Decision:
        return Decision((event,), ((key, record), self.origin.remembered("done", key)))

    def _begin(  # noqa: PLR0913 - a change is all of these
        self,
        record: DeploymentRecord,
        saga: Saga,
        status: Status,
        candidate: DeployedAsset,
        checks: tuple[Check, ...],
        *,
        to_revision: int | None = None,
    ) -> Decision:
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
            deadline=self._deadline(),
            checks=checks,
            to_revision=to_revision,
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
            before=_served(record),
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
        )
        remembered = self.origin.remembered("accepted", key)
        return Decision((event,), ((key, updated), remembered), (work,))

    def _try(
        self, record: DeploymentRecord, candidate: DeployedAsset, checks: tuple[Check, ...]
    ) -> Decision:
        trial = Trial(
            command_key=self.command.key,
            deployment_id=record.deployment_id,
            asset=candidate,
            actor=self.command.actor,
            since=self.now,
            deadline=self._deadline(),
            checks=checks,
        )
        work = Work("trial", self.command.key, self.command.key, candidate.manifest, trial.deadline)
        subject = record_key("deployment", record.deployment_id)
        return Decision((), (self.origin.remembered("accepted", subject, trial),), (work,))

    def _deadline(self) -> str:
        return rfc3339(self.now_ms + self.rules.update_deadline_ms)

    def _space(self, space_id: str) -> None:
        if self.view.space(space_id) is None:
            raise _Refusal(Code.SPACE_NOT_FOUND, f"there is no space {space_id}")

    def _asset(self, space_id: str, asset_id: str) -> DeployedAsset:
        asset = self.view.asset(asset_id)
        if asset is None or asset.space_id != space_id or asset.manifest is None:
            gone = asset is not None and asset.deleted and asset.space_id == space_id
            raise _Refusal(
                Code.ASSET_NOT_FOUND,
                f"asset {asset_id} was deleted"
                if gone
                else f"there is no asset {asset_id} in space {space_id}",
            )
        return DeployedAsset(asset_id=asset_id, manifest=asset.manifest)

    def _settled(
        self, space_id: str, deployment_id: str, expected_revision: int | None
    ) -> DeploymentRecord:
        """Return the deployment if it is there, at rest, and at the revision expected."""
        self._space(space_id)
        record = self.view.deployment(deployment_id)
        if record is None or record.space_id != space_id or record.status is Status.DELETED:
            raise _Refusal(
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
            raise _Refusal(
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
            raise _Refusal(
                Code.REVISION_CONFLICT,
                f"deployment {deployment_id} is at revision {record.revision}, "
                f"not {expected_revision}",
                (check,),
            )
        return record

    def _differs(self, record: DeploymentRecord, candidate: DeployedAsset) -> None:
        if record.asset is not None and record.asset.asset_id == candidate.asset_id:
            raise _Refusal(
                Code.SAME_ASSET,
                f"deployment {record.deployment_id} serves asset {candidate.asset_id} already",
            )

    def _minted(self, kind: str) -> str:
        command = self.command
        return minted_id(kind, command.data.space_id, command.source, command.id)

    def _gated(
        self,
        record: DeploymentRecord | None,
        candidate: DeployedAsset,
        compatibility: Compatibility = Compatibility.EXACT,
        *,
        allow_output_change: bool = False,
    ) -> tuple[Check, ...]:
        current = record.asset.manifest if record is not None and record.asset is not None else None
        checks = gate(
            current,
            candidate.manifest,
            compatibility,
            self.rules,
            allow_output_change=allow_output_change,
        )
        code = verdict(checks)
        if code is not None:
            raise _Refusal(
                code,
                f"asset {candidate.asset_id} cannot be deployed here: {summary(checks)}",
                checks,
            )
        return checks


def _served(record: DeploymentRecord) -> AssetAt | None:
    if record.asset is None:
        return None
    return AssetAt(asset_id=record.asset.asset_id, revision=record.revision)
