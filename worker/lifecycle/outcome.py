"""How a verification ends: the owner applies its outcome, which never travels as a command."""

from schemas.checks import Check, Code
from schemas.events import AssetAt, EventName
from schemas.records import (
    CommandRecord,
    DeploymentRecord,
    HistoryEntry,
    Pending,
    Saga,
    Status,
    record_key,
)
from schemas.times import rfc3339
from schemas.topics import COMMAND_MEMORY_MS
from worker.lifecycle.decision import NOTHING, Decision, Origin, Refusal, rejection, served
from worker.lifecycle.view import View, Work

HISTORY = 20
# Tombstones a transaction may carry besides its commands.
EXPIRED_AT_ONCE = 1000

_ENDINGS = {
    Saga.CREATE: EventName.DEPLOYMENT_CREATED,
    Saga.REPLACE: EventName.DEPLOYMENT_UPDATED,
    Saga.ROLLBACK: EventName.DEPLOYMENT_ROLLED_BACK,
}


def conclude(view: View, work: Work, checks: tuple[Check, ...], now_ms: int) -> Decision:
    """Apply the verification of ``work``: all checks passed, or the old asset goes on serving.

    Decides nothing where that very change is no longer pending.
    """
    if work.kind == "trial":
        return _conclude_trial(view, work, checks, now_ms)
    found = _awaited(view, work)
    if found is None:
        return NOTHING
    record, pending = found
    passed = all(check.passed for check in checks)
    updated = (
        _switched(record, pending, rfc3339(now_ms)) if passed else _kept(record, rfc3339(now_ms))
    )
    origin = Origin(
        key=pending.command_key,
        source=pending.command_source,
        id=pending.command_id,
        type=pending.command_type,
        actor=pending.actor,
        space_id=record.space_id,
        now_ms=now_ms,
        trace=pending.trace,
    )
    event = origin.event(
        _ENDINGS[pending.saga] if passed else EventName.UPDATE_FAILED,
        record_key("deployment", record.deployment_id),
        deployment_id=record.deployment_id,
        name=record.name,
        status=updated.status.value,
        revision=updated.revision,
        before=served(record),
        after=AssetAt(asset_id=pending.asset.asset_id, revision=record.revision + 1),
        reason=pending.reason,
        comment=pending.comment,
        passed=passed,
        checks=(*pending.checks, *checks),
    )
    return Decision(
        (event,),
        (
            (record_key("deployment", record.deployment_id), updated),
            *_remembered(view, work.command_key, _ended(passed=passed)),
        ),
    )


def announce(view: View, work: Work) -> Decision:
    """Tell the agents that the pending asset has passed: they load it while the old one serves.

    Not before: an agent must never load a file that was not verified. Decides nothing where no
    client is served yet, or where the change is no longer pending.
    """
    found = _awaited(view, work)
    if found is None or found[0].asset is None:
        return NOTHING
    record, pending = found
    told = pending.model_copy(update={"verified": True})
    key = record_key("deployment", record.deployment_id)
    return Decision(records=((key, record.model_copy(update={"pending": told})),))


def deadline_check(work: Work, now_ms: int) -> Check | None:
    """Return the failed check of a verification that is past its deadline, else None."""
    # RFC 3339 UTC of one precision: the texts sort as the times do.
    if rfc3339(now_ms) <= work.deadline:
        return None
    return Check(
        name="time_limit",
        passed=False,
        expected=f"verified by {work.deadline}",
        actual=rfc3339(now_ms),
        hint="the change waited too long for a worker; send the command again",
    )


def expire(view: View, now_ms: int) -> Decision:
    """Forget the outcomes of commands older than seven days; a bounded number at a time."""
    gone: list[tuple[str, None]] = []
    for key, at_ms in view.commands():
        young = at_ms > now_ms - COMMAND_MEMORY_MS
        # What a command has begun is concluded by its record.
        if young or len(gone) == EXPIRED_AT_ONCE or view.accepted(key) is not None:
            break
        gone.append((record_key("command", key), None))
    return Decision(records=tuple(gone)) if gone else NOTHING


def _awaited(view: View, work: Work) -> tuple[DeploymentRecord, Pending] | None:
    """Return the deployment and its pending change, if that is still the one of ``work``."""
    record = view.deployment(work.id)
    if record is None or record.pending is None or record.pending.command_key != work.command_key:
        return None
    return record, record.pending


def _switched(record: DeploymentRecord, pending: Pending, now: str) -> DeploymentRecord:
    revision = record.revision + 1
    entry = HistoryEntry(
        revision=revision,
        asset_id=pending.asset.asset_id,
        at=now,
        command_id=pending.command_id,
    )
    return record.model_copy(
        update={
            "status": Status.DEPLOYED,
            "revision": revision,
            "asset": pending.asset,
            "pending": None,
            "history": (*record.history, entry)[-HISTORY:],
            "last_update": now,
        }
    )


def _kept(record: DeploymentRecord, now: str) -> DeploymentRecord:
    status = Status.DEPLOYED if record.asset is not None else Status.FAILED
    return record.model_copy(update={"status": status, "pending": None, "last_update": now})


def _conclude_trial(view: View, work: Work, checks: tuple[Check, ...], now_ms: int) -> Decision:
    remembered = view.accepted(work.command_key)
    trial = None if remembered is None else remembered.trial
    if remembered is None or trial is None:
        return NOTHING
    origin = Origin(
        key=work.command_key,
        source=remembered.source,
        id=remembered.command_id,
        type=remembered.command_type,
        actor=trial.actor,
        space_id=remembered.space_id,
        now_ms=now_ms,
        more={
            "deployment_id": trial.deployment_id,
            "asset_id": trial.asset.asset_id,
            "dry_run": True,
        },
        trace=trial.trace,
    )
    record = view.deployment(trial.deployment_id)
    if record is None or record.status is Status.DELETED:
        code = Code.DEPLOYMENT_NOT_FOUND
        message = f"deployment {trial.deployment_id} was deleted while the dry run was verified"
        refused = rejection(origin, Refusal(code, message))
        return Decision(refused.events, _remembered(view, work.command_key, code.value))
    passed = all(check.passed for check in checks)
    event = origin.event(
        EventName.UPDATE_CHECKED,
        record_key("deployment", trial.deployment_id),
        status=record.status.value,
        revision=record.revision,
        passed=passed,
        checks=(*trial.checks, *checks),
        **origin.more,
    )
    return Decision((event,), _remembered(view, work.command_key, _ended(passed=passed)))


def _ended(*, passed: bool) -> str:
    return "done" if passed else "failed"


def _remembered(
    view: View, command_key: str, outcome: str
) -> tuple[tuple[str, CommandRecord], ...]:
    known = view.accepted(command_key)
    if known is None:
        return ()
    ended = known.model_copy(update={"outcome": outcome, "trial": None})
    return ((record_key("command", command_key), ended),)
