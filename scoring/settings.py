"""The scoring agent's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.hosts import Limits
from schemas import variables
from telemetry.settings import TelemetrySettings
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
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    metrics_deployments: int = 100

    @property
    def group(self) -> str:
        """The consumer group that all agents of one app share."""
        return f"{self.kafka.app}-scoring"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ScoringSettings":
        """Read ``BATON_*``. Raises SettingsError, naming the variable."""
        return cls(
            kafka=Settings.from_env(environ),
            delivery=variables.DELIVERY.choice(environ, EXACTLY_ONCE, AT_LEAST_ONCE),
            max_batch=variables.MAX_BATCH.whole(environ),
            cache_models=variables.CACHE_MODELS.whole(environ),
            cache_bytes=variables.CACHE_MB.whole(environ) * 1024**2,
            revision_wait_s=variables.REVISION_WAIT.whole(environ) / 1000,
            limits=Limits(
                load_s=variables.LOAD_TIME_LIMIT.whole(environ),
                predict_s=variables.PREDICT_TIME_LIMIT.whole(environ) / 1000,
                memory_bytes=variables.MODEL_MEMORY.whole(environ) * 1024**2,
            ),
            ready_file=variables.READY_FILE.path(environ),
            telemetry=TelemetrySettings.from_env(environ),
            metrics_deployments=variables.METRICS_DEPLOYMENTS.whole(environ),
        )
