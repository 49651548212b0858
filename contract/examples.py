"""One example of each message: the story of a fraud model that is replaced."""

from typing import Any

DEPLOYMENT = "5a7e61b7-8b58-5b6b-9d2e-0d6f1f0c9a11"
COMMAND = "7f0c1c9e-6a55-4d0e-9f3b-2f4f5f1c6c1d"
REQUEST = "b2f7c7a0-31f4-4c47-8f9e-5a2f5c1d7e90"
SOURCE = "/pipelines/nightly"
ACTOR = "ana@example.com"
TIME = "2026-11-24T10:00:00.000Z"

MANIFEST: dict[str, Any] = {
    "name": "fraud, pipeline 8",
    "tags": ["nightly"],
    "uri": "/var/lib/baton/store/sha256/" + "c4" * 32 + ".joblib",
    "sha256": "c4" * 32,
    "size": 48213,
    "format": "joblib",
    "framework": {"name": "scikit-learn", "version": "1.9.1"},
    "input_schema": {
        "fields": [
            {"name": "amount", "type": "double", "nullable": False},
            {"name": "age", "type": "integer", "nullable": True},
        ]
    },
    "output_schema": {"task": "classification", "classes": [0, 1]},
    "metrics": {"roc_auc": 0.994},
    "sample": {"fields": ["amount", "age"], "values": [[1.2, 30], [870.0, None]]},
}

_SPACE = {"space_id": "fraud"}
_ABOUT = {"space_id": "fraud", "deployment_id": DEPLOYMENT}

COMMANDS: dict[str, dict[str, Any]] = {
    "create-space": {**_SPACE, "name": "Fraud"},
    "promote-asset": {**_SPACE, "asset_id": "fraud-8", "manifest": MANIFEST},
    "create-deployment": {**_SPACE, "asset_id": "fraud-7", "name": "card payments"},
    "replace-asset": {
        **_ABOUT,
        "asset_id": "fraud-8",
        "expected_revision": 3,
        "reason": "accuracy",
        "comment": "pipeline 8",
        "compatibility": "exact",
        "dry_run": False,
    },
    "rollback-deployment": {**_ABOUT, "to_revision": 2, "reason": "errors"},
    "delete-deployment": {**_ABOUT, "expected_revision": 5},
    "delete-asset": {**_SPACE, "asset_id": "fraud-7"},
}


def _event(command: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of an event
    caused = {"command_id": COMMAND, "command_type": f"baton.command.{command}.v1", "actor": ACTOR}
    return {**_SPACE, **caused, **data}


def _at(asset: str, revision: int) -> dict[str, Any]:
    return {"asset_id": asset, "revision": revision}


_DIGEST = {
    "name": "digest",
    "passed": True,
    "expected": MANIFEST["sha256"],
    "actual": MANIFEST["sha256"],
    "hint": "",
}
_ABSENT = {
    "name": "input_schema:age",
    "passed": False,
    "expected": "integer",
    "actual": "absent",
    "hint": "the candidate does not read this field; replace with compatibility: compatible",
}
_UPDATE = {"deployment_id": DEPLOYMENT, "name": "card payments"}
_SWITCH = {"before": _at("fraud-7", 3), "after": _at("fraud-8", 4)}
_WHY = {"reason": "accuracy", "comment": "pipeline 8"}

EVENTS: dict[str, dict[str, Any]] = {
    "space-created": _event("create-space", name="Fraud"),
    "asset-promoted": _event("promote-asset", asset_id="fraud-8", manifest=MANIFEST),
    "update-started": _event(
        "replace-asset", **_UPDATE, status="updating", revision=3, **_SWITCH, **_WHY, checks=[]
    ),
    "deployment-created": _event(
        "create-deployment",
        **_UPDATE,
        status="deployed",
        revision=1,
        after=_at("fraud-7", 1),
        passed=True,
        checks=[_DIGEST],
    ),
    "deployment-updated": _event(
        "replace-asset",
        **_UPDATE,
        status="deployed",
        revision=4,
        **_SWITCH,
        **_WHY,
        passed=True,
        checks=[_DIGEST],
    ),
    "update-failed": _event(
        "replace-asset",
        **_UPDATE,
        status="deployed",
        revision=3,
        **_SWITCH,
        **_WHY,
        passed=False,
        checks=[_DIGEST | {"passed": False, "actual": "0" * 64}],
    ),
    "update-checked": _event(
        "replace-asset",
        deployment_id=DEPLOYMENT,
        asset_id="fraud-8",
        dry_run=True,
        status="deployed",
        revision=3,
        passed=True,
        checks=[_DIGEST],
    ),
    "deployment-rolled-back": _event(
        "rollback-deployment",
        **_UPDATE,
        status="deployed",
        revision=5,
        before=_at("fraud-8", 4),
        after=_at("fraud-7", 5),
        reason="errors",
        passed=True,
        checks=[_DIGEST],
    ),
    "deployment-deleted": _event(
        "delete-deployment",
        deployment_id=DEPLOYMENT,
        status="deleted",
        revision=5,
        before=_at("fraud-7", 5),
    ),
    "asset-deleted": _event("delete-asset", asset_id="fraud-7"),
    "command-rejected": _event(
        "replace-asset",
        deployment_id=DEPLOYMENT,
        asset_id="fraud-9",
        code="schema_mismatch",
        message="asset fraud-9 cannot be deployed here: input_schema:age",
        checks=[_ABSENT],
    ),
}

_MADE = {"created_at": TIME, "command_id": COMMAND}
_SERVED = {"asset_id": "fraud-8", "manifest": MANIFEST}

RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "space": ("space/fraud", {**_SPACE, "name": "Fraud", "description": None, **_MADE}),
    "asset": (
        "asset/fraud-8",
        {**_SPACE, "asset_id": "fraud-8", "manifest": MANIFEST, **_MADE, "deleted": False},
    ),
    "deployment": (
        f"deployment/{DEPLOYMENT}",
        {
            **_ABOUT,
            "name": "card payments",
            "description": None,
            "status": "deployed",
            "revision": 4,
            "asset": _SERVED,
            "pending": None,
            "history": [{"revision": 4, "asset_id": "fraud-8", "at": TIME, "command_id": COMMAND}],
            "created_at": TIME,
            "last_update": TIME,
        },
    ),
    "command": (
        "command/0c1f6c0b-5f1e-5b0e-8a55-6b6ab6a3f6de",
        {
            **_SPACE,
            "command_id": COMMAND,
            "source": SOURCE,
            "command_type": "baton.command.replace-asset.v1",
            "outcome": "done",
            "subject": f"deployment/{DEPLOYMENT}",
            "at_ms": 1_795_514_400_000,
            "trial": None,
        },
    ),
    "cursor": ("cursor", {"offset": 120, "sequence": 42}),
}

_PLACE = {"partition": 3, "offset": 120}

WML_REQUEST: dict[str, Any] = {
    "input_data": [{"fields": ["amount", "age"], "values": [[1.2, 30], [870.0, None]]}]
}
V2_REQUEST: dict[str, Any] = {
    "id": REQUEST,
    "inputs": [
        {"name": "amount", "shape": [2], "datatype": "FP64", "data": [1.2, 870.0]},
        {"name": "age", "shape": [2], "datatype": "INT32", "data": [30, None]},
    ],
    "parameters": {"deployment_id": DEPLOYMENT},
}
WML_ANSWER: dict[str, Any] = {
    "id": REQUEST,
    "deployment_id": DEPLOYMENT,
    "asset_id": "fraud-8",
    "revision": 4,
    "predictions": [
        {
            "fields": ["prediction", "probability"],
            "values": [[0, [0.98, 0.02]], [1, [0.1, 0.9]]],
        }
    ],
    "request": _PLACE,
}
V2_ANSWER: dict[str, Any] = {
    "id": REQUEST,
    "model_name": DEPLOYMENT,
    "model_version": "4",
    "outputs": [
        {"name": "prediction", "shape": [2], "datatype": "INT64", "data": [0, 1]},
        {
            "name": "probability",
            "shape": [2, 2],
            "datatype": "FP64",
            "data": [0.98, 0.02, 0.1, 0.9],
        },
    ],
    "parameters": {"asset_id": "fraud-8", "request": _PLACE},
}
ERROR_ANSWER: dict[str, Any] = {
    "id": REQUEST,
    "deployment_id": DEPLOYMENT,
    "error": {
        "code": "schema_mismatch",
        "message": "the required field 'age' is missing",
        "field": "age",
    },
    "request": _PLACE,
    "asset_id": "fraud-8",
    "revision": 4,
}
