"""What a stranger's code said, as an event can carry it.

It goes into the audit log, which is kept for ever and has to be readable for ever: short, JSON, no
NaN, no half of a surrogate pair; and asking for it may run the stranger's code once more.
"""

import math
from typing import Any

SHOWN_CHARS = 500
SHOWN_ENTRIES = 100


def said(error: BaseException) -> str:
    """Return what ``error`` says, whatever its own code does when it is asked."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a stranger's exception
        text = "(it cannot say what)"
    return _text(f"{type(error).__name__}: {text}")


def shown(value: Any) -> Any:  # noqa: ANN401 - any value to a JSON value
    """Return ``value`` as JSON: scalars as they are, texts and lists shortened, the rest told."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        # One more: a list that was cut is not cut again.
        whole = len(value) <= SHOWN_ENTRIES + 1
        entries = [
            _repr(entry) if isinstance(entry, list | tuple | dict) else shown(entry)
            for entry in (value if whole else value[:SHOWN_ENTRIES])
        ]
        return entries if whole else [*entries, f"… and {len(value) - SHOWN_ENTRIES} more"]
    return _repr(value)


def _text(text: str) -> str:
    """Return ``text`` short enough to be kept, and without halves of surrogate pairs."""
    text = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
    return text.encode(errors="replace").decode()


def _repr(value: Any) -> str:  # noqa: ANN401
    try:
        return _text(repr(value))
    except BaseException:  # noqa: BLE001 - too deep, too large, or a stranger's code
        return f"a {type(value).__name__}"
