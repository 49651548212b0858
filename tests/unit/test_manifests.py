"""Records that share a manifest: cut without loss, read alike, and small."""

import tracemalloc

import hypothesis.strategies as st
import pytest
from hypothesis import given

from schemas.manifests import Manifests, cut
from schemas.records import (
    DeployedAsset,
    DeploymentRecord,
    Pending,
    Saga,
    Status,
    decode_record,
    encode_record,
)
from tests.unit.test_decide import manifest

# What could be taken for a place to cut at, were it not inside a string.
TEXTS = st.sampled_from(
    ['"manifest":', '},"pending":', '"asset":{"asset_id":', '{"manifest":{}},"pending":null', "é\\"]
)


def deployment(number=0, name="d", asset=None, pending=None):
    return DeploymentRecord(
        space_id="s",
        deployment_id=f"deployment-{number}",
        name=name,
        status=Status.DEPLOYED,
        revision=1,
        asset=asset,
        pending=pending,
        created_at="2026-11-25T00:00:00Z",
        last_update="2026-11-25T00:00:00Z",
    )


def pending(asset):
    return Pending(
        saga=Saga.REPLACE,
        asset=asset,
        command_id="c",
        command_source="/s",
        command_key="k",
        command_type="t",
        since="2026-11-25T00:00:00Z",
        deadline="2026-11-25T00:00:00Z",
    )


@given(name=TEXTS, model=TEXTS, metric=TEXTS, serving=st.booleans(), waiting=st.booleans())
def test_a_record_is_cut_without_loss_and_read_as_any_other(name, model, metric, serving, waiting):
    held = DeployedAsset(asset_id=name, manifest=manifest(name=model, metrics={metric: 1.0}))
    record = deployment(
        name=name, asset=held if serving else None, pending=pending(held) if waiting else None
    )
    value = encode_record(record)
    pieces = cut(value)
    assert (pieces is not None) == serving
    assert pieces is None or pieces.whole() == value
    manifests = Manifests()
    for _ in range(2):
        assert manifests.decode("deployment/d", value) == decode_record("deployment/d", value)


def test_records_of_one_manifest_share_it():
    held = DeployedAsset(asset_id="a", manifest=manifest())
    values = [encode_record(deployment(number, asset=held)) for number in range(2)]
    manifests = Manifests()
    one, other = (manifests.decode("deployment/d", value) for value in values)
    assert one.deployment_id != other.deployment_id
    assert one.asset.manifest is other.asset.manifest
    one, other = (manifests.shared("deployment/d", value) for value in values)
    assert one.manifest is other.manifest


@pytest.mark.parametrize("value", [b"", b"{}", b'"manifest":', b'{"asset":{"asset_id":"a"}}'])
def test_what_is_no_such_record_is_kept_as_it_is(value):
    assert Manifests().shared("deployment/d", value) == value


def test_a_deployment_takes_a_kilobyte_however_large_its_manifest():
    held = DeployedAsset(asset_id="a", manifest=manifest(description="x" * 20_000))
    values = [encode_record(deployment(number, asset=held)) for number in range(500)]
    manifests, kept = Manifests(), []
    tracemalloc.start()
    try:
        kept.extend(manifests.shared("deployment/d", value) for value in values)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(values) < 1024
