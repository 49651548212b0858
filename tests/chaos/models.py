"""The models of a run: manifests, as JSON, of what the clients promote."""

from typing import Any

from artifacts.save import save_model
from artifacts.store import Store
from tests.unit.models import fitted
from transport.settings import Settings


def manifests(settings: Settings) -> dict[str, Any]:
    """Save and return three of one kind, one of another schema, and one with a wrong digest."""
    estimator, sample = fitted("binary")
    store = Store(settings.store)
    good = [
        save_model(estimator.set_params(C=c), sample, store=store, name=f"good {c}")
        for c in (1.0, 2.0, 3.0)
    ]
    other, rows = fitted("mixed")
    others = save_model(other, rows, store=store, name="other")
    bad = good[0].model_copy(update={"name": "bad", "sha256": "0" * 64})
    plain = [
        manifest.model_dump(mode="json", exclude_none=True) for manifest in (*good, others, bad)
    ]
    return {"good": plain[:3], "other": plain[3], "bad": plain[4]}
