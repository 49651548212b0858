"""Candidates for a replace: what is said of each before anyone has asked for anything."""

import pytest

from client.audit import AuditEvent
from console.candidates import candidates
from schemas.checks import Check
from schemas.events import EventData, EventName
from schemas.manifest import InputSchema, Manifest
from schemas.records import AssetRecord, DeployedAsset, DeploymentRecord

FIELDS = ({"name": "age", "type": "double"}, {"name": "city", "type": "string"})


def manifest(*fields, framework="scikit-learn", version="1.9.1", classes=(0, 1), schema=True):
    return Manifest(
        name="m",
        uri="/store/m",
        sha256="a" * 64,
        framework={"name": framework, "version": version},
        input_schema=InputSchema(fields=fields or FIELDS) if schema else None,
        output_schema={"task": "classification", "classes": classes},
    )


def asset(asset_id="other", **parts):
    fields = parts.pop("fields", ())
    return AssetRecord(
        space_id="s",
        asset_id=asset_id,
        manifest=manifest(*fields, **parts),
        created_at="t",
        command_id="c",
    )


def deployment(*, serving):
    return DeploymentRecord(
        space_id="s",
        deployment_id="d",
        name="d",
        status="deployed" if serving else "failed",
        revision=int(serving),
        asset=DeployedAsset(asset_id="one", manifest=manifest()) if serving else None,
        created_at="t",
        last_update="t",
    )


def event(name, asset_id="other", *, passed=None, code=None, dry_run=True):
    data = EventData(
        command_id="c",
        command_type="x",
        deployment_id="d",
        asset_id=asset_id,
        passed=passed,
        code=code,
        dry_run=dry_run or None,
        checks=(Check(name="digest", passed=bool(passed)),),
    )
    return AuditEvent(name, {"sequence": "1"}, data, 0, 0)


def found(record, *, events=(), checking=(), serving=True):
    (one,) = candidates(deployment(serving=serving), [record], events, checking)
    return one


WIDER = (*FIELDS, {"name": "more", "type": "double", "nullable": True})


@pytest.mark.parametrize(
    ("parts", "way", "told"),
    [
        ({}, "", ""),
        # Whether the runtime loads it is the worker's to say.
        ({"version": "0.1"}, "", ""),
        ({"fields": WIDER}, "compatible schemas", "input_schema (1 field)"),
        ({"classes": ("no", "yes")}, "another output", "output_schema"),
        (
            {"fields": WIDER, "classes": (1,)},
            "compatible schemas and another output",
            "input_schema (1 field), output_schema",
        ),
        ({"fields": ({"name": "x", "type": "long"},)}, None, "input_schema (3 fields)"),
        ({"framework": "other"}, None, "framework:name"),
        ({"schema": False}, None, "schema_present:candidate"),
    ],
)
def test_a_manifest_says_whether_and_how_it_fits(parts, way, told):
    one = found(asset(**parts))
    assert (one.way.name if one.way else None, one.told) == (way, told)
    assert bool(one.faults) == bool(told)
    assert one.unchecked == (way is not None)


def test_where_nothing_serves_anything_fits():
    one = found(asset(framework="other", schema=False), serving=False)
    assert (one.way.name, one.faults) == ("", ())


def test_the_last_dry_run_since_the_last_change_counts():
    failed = event(EventName.UPDATE_CHECKED, passed=False)
    passed = event(EventName.UPDATE_CHECKED, passed=True)
    assert found(asset(), events=[failed, passed]).checked is failed
    changed = event(EventName.DEPLOYMENT_UPDATED, dry_run=False)
    assert found(asset(), events=[changed, passed]).checked is None
    assert found(asset(), events=[event(EventName.UPDATE_CHECKED, "third")]).checked is None


def test_a_refusal_counts_where_it_is_the_candidate_s():
    refused = event(EventName.COMMAND_REJECTED, code="framework_incompatible")
    assert found(asset(), events=[refused]).checked is refused
    elsewhere = [
        event(EventName.COMMAND_REJECTED, code="revision_conflict"),
        event(EventName.COMMAND_REJECTED, code="schema_mismatch", dry_run=False),
    ]
    assert found(asset(), events=elsewhere).checked is None


def test_what_is_being_checked_is_not_checked_again():
    one = found(asset(), checking={"other"})
    assert (one.checking, one.unchecked) == (True, False)
