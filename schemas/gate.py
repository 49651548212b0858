"""The compatibility gate: whether a candidate may stand where the current asset stands.

Decided from two manifests alone. The worker's word counts; who asks beforehand asks here, too.
"""

from typing import Any

from schemas.checks import Check, Code
from schemas.commands import Compatibility
from schemas.manifest import WIDENINGS, InputSchema, Manifest, SchemaField

FAILURES = {
    "framework": Code.FRAMEWORK_INCOMPATIBLE,
    "schema_present": Code.SCHEMA_MISSING,
    "input_schema": Code.SCHEMA_MISMATCH,
    "output_schema": Code.OUTPUT_MISMATCH,
}


def gate(
    current: Manifest | None,
    candidate: Manifest,
    compatibility: Compatibility,
    *,
    allow_output_change: bool,
) -> tuple[Check, ...]:
    """Return every check of ``candidate`` against ``current`` (None: nothing has ever served)."""
    if current is None:
        return ()
    checks = [_same_framework(current, candidate), *_present(current, candidate)]
    if current.input_schema is not None and candidate.input_schema is not None:
        checks.extend(input_checks(current.input_schema, candidate.input_schema, compatibility))
    checks.append(_output_check(current, candidate, allow_output_change=allow_output_change))
    return tuple(checks)


def verdict(checks: tuple[Check, ...]) -> Code | None:
    """Return the code of the first failed check, or None where all passed."""
    for check in checks:
        if not check.passed:
            return FAILURES[check.name.partition(":")[0]]
    return None


def summary(checks: tuple[Check, ...]) -> str:
    """Return the failed checks in a few words: ``input_schema (4 fields), output_schema``."""
    failed = [check.name for check in checks if not check.passed]
    fields = sum(name.startswith("input_schema:") for name in failed)
    counted = f"input_schema ({fields} field{'s' if fields > 1 else ''})"
    kinds = [counted if name.startswith("input_schema:") else name for name in failed]
    return ", ".join(dict.fromkeys(kinds))


def input_checks(
    current: InputSchema, candidate: InputSchema, compatibility: Compatibility
) -> list[Check]:
    """Compare two input schemas field by field; the order of the fields is free.

    EXACT: the same names, types and nullability. COMPATIBLE: the candidate requires no field that
    the deployment lacks, and types only widen (schemas.manifest.WIDENINGS).
    """
    ours = {field.name: field for field in current.fields}
    theirs = {field.name: field for field in candidate.fields}
    faults = [
        fault
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if (fault := _field_fault(name, ours.get(name), theirs.get(name), compatibility))
    ]
    if faults:
        return faults
    return [Check(name="input_schema", passed=True, expected=compatibility.value, actual="matches")]


def _field_fault(
    name: str, ours: SchemaField | None, theirs: SchemaField | None, mode: Compatibility
) -> Check | None:
    exact = mode is Compatibility.EXACT
    if theirs is None:
        # COMPATIBLE: what the candidate does not read, clients may go on sending.
        hint = "the candidate does not read this field; train it with it, or ask for `compatible`"
        bad = exact
    elif ours is None:
        hint = (
            "no client sends this field: leave it out, or make it nullable and ask for `compatible`"
        )
        bad = exact or not theirs.nullable
    elif exact:
        hint = "the field must have the type and nullability that clients send"
        bad = (ours.type, ours.nullable) != (theirs.type, theirs.nullable)
    else:
        hint = "types may only widen, and a nullable field must stay so"
        widens = ours.type is theirs.type or (ours.type, theirs.type) in WIDENINGS
        bad = not widens or (ours.nullable and not theirs.nullable)
    if not bad:
        return None
    return Check(
        name=f"input_schema:{name}",
        passed=False,
        expected=_described(ours),
        actual=_described(theirs),
        hint=hint,
    )


def _described(field: SchemaField | None) -> str:
    if field is None:
        return "absent"
    return f"{field.type}{' nullable' if field.nullable else ''}"


def _same_framework(current: Manifest, candidate: Manifest) -> Check:
    same = current.framework.name == candidate.framework.name
    return Check(
        name="framework:name",
        passed=same,
        expected=current.framework.name,
        actual=candidate.framework.name,
        hint="" if same else "a deployment keeps its framework; create another deployment",
    )


def _present(current: Manifest, candidate: Manifest) -> list[Check]:
    return [
        Check(
            name=f"schema_present:{whose}",
            passed=manifest.input_schema is not None,
            expected="an input schema",
            actual="present" if manifest.input_schema is not None else "missing",
            hint=""
            if manifest.input_schema is not None
            else f"save the {whose} asset's model with an input schema (sample rows give one)",
        )
        for whose, manifest in (("current", current), ("candidate", candidate))
    ]


def _output_check(current: Manifest, candidate: Manifest, *, allow_output_change: bool) -> Check:
    ours, theirs = _output(current), _output(candidate)
    same = ours == theirs
    return Check(
        name="output_schema",
        passed=same or allow_output_change,
        expected=ours,
        actual=theirs,
        hint="" if same else "clients read these labels; set allow_output_change to change them",
    )


def _output(manifest: Manifest) -> dict[str, Any] | None:
    schema = manifest.output_schema
    if schema is None:
        return None
    # Labels as a set: their order only orders the probabilities, and 1 is not True.
    labels = schema.classes
    return {
        "task": schema.task,
        "classes": None
        if labels is None
        else sorted(f"{type(label).__name__}:{label}" for label in labels),
    }
