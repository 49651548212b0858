"""The rules: what a command does to the state of its partition, or why it does nothing."""

from schemas.checks import Check, Code
from schemas.cloudevents import CloudEvent
from schemas.commands import (
    CreateDeployment,
    CreateSpace,
    DeleteAsset,
    DeleteDeployment,
    PromoteAsset,
    ReplaceAsset,
    RollbackDeployment,
)
from schemas.events import EventName
from schemas.ids import command_key
from schemas.records import (
    AssetRecord,
    DeploymentRecord,
    Saga,
    SpaceRecord,
    Status,
    record_key,
)
from worker.lifecycle.case import Case
from worker.lifecycle.command import Command, InvalidCommandError
from worker.lifecycle.decision import NOTHING, Decision, Origin, Refusal, rejection, served
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View


def decide(view: View, command: Command, now_ms: int, rules: Rules) -> Decision:
    """Decide ``command`` over ``view``. Pure and total: it always ends in a decision.

    ``now_ms`` is the message's time. A command seen before decides nothing.
    """
    if view.remembers(command.key):
        return NOTHING
    case = Case(view, command, now_ms, rules)
    try:
        return _decided(case)
    except Refusal as refusal:
        return rejection(case.origin, refusal)


def reject_invalid(
    view: View, event: CloudEvent, invalid: InvalidCommandError, now_ms: int
) -> Decision:
    """Decide a command that does not fit its schema: it is rejected, once."""
    key = command_key(event.source, event.id)
    if view.remembers(key):
        return NOTHING
    space = event.data.get("space_id") if isinstance(event.data, dict) else None
    return rejection(
        Origin(
            key=key,
            source=event.source,
            id=event.id,
            type=event.type,
            actor=event.attributes.get("actor"),
            space_id=space if isinstance(space, str) else None,
            now_ms=now_ms,
            trace=event.trace,
        ),
        Refusal(Code.INVALID_COMMAND, str(invalid), invalid.checks),
    )


def _decided(case: Case) -> Decision:  # noqa: PLR0911 - one for each command
    match case.command.data:
        case CreateSpace() as data:
            return _create_space(case, data)
        case PromoteAsset() as data:
            return _promote(case, data)
        case CreateDeployment() as data:
            return _create_deployment(case, data)
        case ReplaceAsset() as data:
            return _replace(case, data)
        case RollbackDeployment() as data:
            return _rollback(case, data)
        case DeleteDeployment() as data:
            return _delete_deployment(case, data)
        case DeleteAsset() as data:
            return _delete_asset(case, data)


def _create_space(case: Case, data: CreateSpace) -> Decision:
    if case.view.space(data.space_id) is not None:
        raise Refusal(Code.SPACE_EXISTS, f"space {data.space_id} exists already")
    record = SpaceRecord(
        space_id=data.space_id,
        name=data.name,
        description=data.description,
        created_at=case.now,
        command_id=case.command.id,
    )
    subject = record_key("space", data.space_id)
    event = case.origin.event(
        EventName.SPACE_CREATED, subject, name=data.name, description=data.description
    )
    return case.done(event, subject, record)


def _promote(case: Case, data: PromoteAsset) -> Decision:
    case.space(data.space_id)
    asset_id = data.asset_id or case.minted("asset")
    known = case.view.asset(asset_id)
    if known is not None:
        where = "" if known.space_id == data.space_id else f" in space {known.space_id}"
        was = "was deleted" if known.deleted else f"exists already{where}"
        raise Refusal(
            Code.ASSET_EXISTS,
            f"asset {asset_id} {was}; asset IDs are never used twice: leave it out to get a "
            "new one",
        )
    check = case.rules.store_check(data.manifest.uri)
    if not check.passed:
        raise Refusal(
            Code.STORE_NOT_ALLOWED,
            f"{data.manifest.uri} is outside the stores this deployment space may read",
            (check,),
        )
    record = AssetRecord(
        space_id=data.space_id,
        asset_id=asset_id,
        manifest=data.manifest,
        created_at=case.now,
        command_id=case.command.id,
    )
    subject = record_key("asset", asset_id)
    event = case.origin.event(
        EventName.ASSET_PROMOTED,
        subject,
        asset_id=asset_id,
        manifest=data.manifest.model_dump(mode="json", exclude_none=True),
    )
    return case.done(event, subject, record)


def _create_deployment(case: Case, data: CreateDeployment) -> Decision:
    case.space(data.space_id)
    candidate = case.asset(data.space_id, data.asset_id)
    if (holder := case.view.deployment_named(data.space_id, data.name)) is not None:
        raise Refusal(
            Code.DEPLOYMENT_EXISTS,
            f"space {data.space_id} has a deployment named {data.name!r}: {holder}",
        )
    deployment_id = case.minted("deployment")
    if case.view.deployment(deployment_id) is not None:
        raise Refusal(Code.DEPLOYMENT_EXISTS, f"deployment {deployment_id} exists or has existed")
    checks = case.gated(None, candidate)
    record = DeploymentRecord(
        space_id=data.space_id,
        deployment_id=deployment_id,
        name=data.name,
        description=data.description,
        status=Status.INITIALIZING,
        revision=0,
        asset=None,
        created_at=case.now,
        last_update=case.now,
    )
    return case.begin(record, Saga.CREATE, Status.INITIALIZING, candidate, checks)


def _replace(case: Case, data: ReplaceAsset) -> Decision:
    record = case.settled(data.space_id, data.deployment_id, data.expected_revision)
    candidate = case.asset(data.space_id, data.asset_id)
    case.differs(record, candidate)
    checks = case.gated(
        record, candidate, data.compatibility, allow_output_change=data.allow_output_change
    )
    if data.dry_run:
        return case.trial(record, candidate, checks)
    return case.begin(record, Saga.REPLACE, Status.UPDATING, candidate, checks)


def _rollback(case: Case, data: RollbackDeployment) -> Decision:
    record = case.settled(data.space_id, data.deployment_id, data.expected_revision)
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
        raise Refusal(
            Code.NO_SUCH_REVISION,
            f"deployment {record.deployment_id} has no revision to go back to: {wanted}",
            (check,),
        )
    target = earlier[-1]
    candidate = case.asset(data.space_id, target.asset_id)
    case.differs(record, candidate)
    # No schema gate: the asset has served here, and going back must always be possible.
    checks = case.gated(None, candidate)
    return case.begin(
        record, Saga.ROLLBACK, Status.UPDATING, candidate, checks, to_revision=target.revision
    )


def _delete_deployment(case: Case, data: DeleteDeployment) -> Decision:
    record = case.settled(data.space_id, data.deployment_id, data.expected_revision)
    # The marker stays for good: a deleted ID never comes back, and clients are told so.
    marker = record.model_copy(
        update={
            "status": Status.DELETED,
            "asset": None,
            "pending": None,
            "history": (),
            "last_update": case.now,
        }
    )
    subject = record_key("deployment", record.deployment_id)
    event = case.origin.event(
        EventName.DEPLOYMENT_DELETED,
        subject,
        deployment_id=record.deployment_id,
        status=Status.DELETED.value,
        revision=record.revision,
        before=served(record),
    )
    return case.done(event, subject, marker)


def _delete_asset(case: Case, data: DeleteAsset) -> Decision:
    case.space(data.space_id)
    asset = case.asset(data.space_id, data.asset_id)
    users = sorted(case.view.users(data.asset_id))
    if users:
        check = Check(
            name="unused",
            passed=False,
            expected=[],
            actual=users,
            hint="replace it in these deployments, or delete them",
        )
        raise Refusal(
            Code.ASSET_IN_USE,
            f"asset {data.asset_id} is used or awaited by {len(users)} deployment(s)",
            (check,),
        )
    subject = record_key("asset", asset.asset_id)
    marker = AssetRecord(
        space_id=data.space_id,
        asset_id=data.asset_id,
        manifest=None,
        created_at=case.now,
        command_id=case.command.id,
        deleted=True,
    )
    event = case.origin.event(EventName.ASSET_DELETED, subject, asset_id=data.asset_id)
    return case.done(event, subject, marker)
