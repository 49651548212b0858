"""The scoring agent's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.hosts import Limits
from schemas.errors import SettingsError
from transport.settings import Settings

EXACTLY_ONCE = "exactly_once"
AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """Delivery, batch size, and the bounds of the model cache and of each model's process.

    ``at_least_once`` answers sooner; after a crash it may answer a request again, with the same
    request id. ``revision_wait_s`` is how long a batch waits for a request's ``min-revision``.
    """

    kafka: Settings
    delivery: str = EXACTLY_ONCE
    max_batch: int = 8000
    cache_models: int = 64
    cache_bytes: int = 4 * 1024**3
    revision_wait_s: float = 2.0
    limits: Limits = field(default_factory=Limits)
    ready_file: Path | None = None

    @property
    def group(self) -> str:
        """The consumer group that all agents of one app share."""
        return f"{self.kafka.app}-scoring"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ScoringSettings":
        """Read ``BATON_*``. Raises SettingsError, naming the variable."""
        delivery = environ.get("BATON_DELIVERY", EXACTLY_ONCE)
        if delivery not in {EXACTLY_ONCE, AT_LEAST_ONCE}:
            raise SettingsError(
                f"BATON_DELIVERY is {EXACTLY_ONCE} or {AT_LEAST_ONCE}, not {delivery!r}"
            )
        ready_file = environ.get("BATON_READY_FILE")
        return cls(
            kafka=Settings.from_env(environ),
            delivery=delivery,
            max_batch=_count(environ, "BATON_MAX_BATCH", 8000),
            cache_models=_count(environ, "BATON_CACHE_MODELS", 64),
            cache_bytes=_count(environ, "BATON_CACHE_MB", 4096) * 1024**2,
            revision_wait_s=_count(environ, "BATON_REVISION_WAIT_MS", 2000) / 1000,
            limits=Limits(
                load_s=_count(environ, "BATON_LOAD_TIME_LIMIT_S", 60),
                predict_s=_count(environ, "BATON_PREDICT_TIME_LIMIT_MS", 10_000) / 1000,
                memory_bytes=_count(environ, "BATON_MODEL_MEMORY_MB", 4096) * 1024**2,
            ),
            ready_file=Path(ready_file) if ready_file else None,
        )


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SettingsError(f"{name} must be a whole number from 1, not {text!r}")
    return int(text)
