"""The models of a run: manifests, as JSON, of what the clients promote."""

from typing import Any

import numpy as np

from artifacts.save import save_model
from artifacts.store import Store
from tests.chaos.marks import ADDS, STEP, Adding
from tests.unit.models import fitted
from transport.settings import Settings


def manifests(settings: Settings) -> dict[str, Any]:
    """Save and return three of one kind, the last of them slow, and two that will be refused."""
    sample = np.eye(3)
    store = Store(settings.store)
    models = (Adding(STEP), Adding(2 * STEP), Adding(3 * STEP, slow=True))
    good = [
        save_model(m, sample, store=store, name=f"adds {m.adds}", metrics={ADDS: m.adds})
        for m in models
    ]
    other, rows = fitted("mixed")
    others = save_model(other, rows, store=store, name="other")
    bad = good[0].model_copy(update={"name": "bad", "sha256": "0" * 64})
    plain = [
        manifest.model_dump(mode="json", exclude_none=True) for manifest in (*good, others, bad)
    ]
    return {"good": plain[:3], "other": plain[3], "bad": plain[4]}
