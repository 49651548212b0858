"""The assets that a deployment could serve next: what manifests say of them, and what checks."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from client.audit import AuditEvent
from console import documents
from schemas.checks import Check
from schemas.commands import Compatibility
from schemas.events import SWITCHED, EventName
from schemas.gate import FAILURES, gate, summary, verdict
from schemas.manifest import Manifest
from schemas.records import AssetRecord, DeploymentRecord


class Way(NamedTuple):
    """What a replace asks for, and how a page calls that; ``name`` is empty for nothing special."""

    name: str
    compatibility: Compatibility
    allow_output_change: bool


EXACT = Way("", Compatibility.EXACT, allow_output_change=False)
# The strictest first.
_WAYS = (
    EXACT,
    Way("compatible schemas", Compatibility.COMPATIBLE, allow_output_change=False),
    Way("another output", Compatibility.EXACT, allow_output_change=True),
    Way(
        "compatible schemas and another output", Compatibility.COMPATIBLE, allow_output_change=True
    ),
)


class Candidate(NamedTuple):
    """An asset beside what serves.

    ``faults`` are the gate's failed checks at its strictest, ``told`` says them in a few words;
    ``way`` is how it would pass all the same, None: in none. ``checked`` is the event of the last
    dry run since the deployment changed, ``checking`` whether one is under way.
    """

    asset: documents.Asset
    faults: tuple[Check, ...]
    told: str
    way: Way | None
    checked: AuditEvent | None
    checking: bool

    @property
    def unchecked(self) -> bool:
        """Whether only its file is left to be tried, and nobody has or does."""
        return self.way is not None and self.checked is None and not self.checking


def candidates(
    record: DeploymentRecord,
    others: Iterable[AssetRecord],
    events: Iterable[AuditEvent],
    checking: Collection[str],
) -> list[Candidate]:
    """Return the ``others`` beside what serves: by their manifests alone and by what was checked.

    ``events`` are the deployment's, newest first; ``checking`` the assets that dry runs are at.
    """
    checked = _checked(events)
    current = record.asset.manifest if record.asset else None
    return [_candidate(current, asset, checked.get(asset.asset_id), checking) for asset in others]


def _candidate(
    current: Manifest | None,
    record: AssetRecord,
    checked: AuditEvent | None,
    checking: Collection[str],
) -> Candidate:
    manifest = record.manifest
    assert manifest is not None  # noqa: S101 - it is not deleted

    def checks(way: Way) -> tuple[Check, ...]:
        return gate(
            current, manifest, way.compatibility, allow_output_change=way.allow_output_change
        )

    strict = checks(EXACT)
    return Candidate(
        documents.asset(record, []),
        tuple(check for check in strict if not check.passed),
        summary(strict),
        next((way for way in _WAYS if verdict(checks(way)) is None), None),
        checked,
        record.asset_id in checking,
    )


def _checked(events: Iterable[AuditEvent]) -> dict[str, AuditEvent]:
    """Return the newest dry run of each asset, by its ID."""
    found: dict[str, AuditEvent] = {}
    for event in events:
        # What was checked against another asset than serves now counts no more.
        if event.name in SWITCHED:
            break
        data = event.data
        # Refused for another reason than the candidate, say a revision: that tells nothing of it.
        tells = event.name == EventName.UPDATE_CHECKED or data.code in FAILURES.values()
        if data.dry_run and data.asset_id and tells:
            found.setdefault(data.asset_id, event)
    return found
