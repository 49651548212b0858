"""The worker's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas import variables
from telemetry.settings import TelemetrySettings
from transport.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Limits of the verification and of an update, and what to load beyond the runtime's minor.

    ``allowed_versions`` are framework versions (``1.8.2``) that are accepted although their minor
    version differs from the runtime's.
    """

    kafka: Settings
    verify_time_limit_s: float = 60.0
    verify_memory_limit_bytes: int = 2 * 1024**3
    update_deadline_ms: int = 600_000
    allowed_versions: tuple[str, ...] = ()
    ready_file: Path | None = None
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "WorkerSettings":
        """Read ``BATON_*``. Raises SettingsError, naming the variable."""
        versions = variables.ALLOWED_VERSIONS.text(environ)
        memory_mb = variables.VERIFY_MEMORY_LIMIT.positive(environ)
        return cls(
            kafka=Settings.from_env(environ),
            verify_time_limit_s=variables.VERIFY_TIME_LIMIT.positive(environ),
            verify_memory_limit_bytes=int(memory_mb * 1024**2),
            update_deadline_ms=int(variables.UPDATE_DEADLINE.positive(environ) * 1000),
            allowed_versions=tuple(v.strip() for v in versions.split(",") if v.strip()),
            ready_file=variables.READY_FILE.path(environ),
            telemetry=TelemetrySettings.from_env(environ),
        )
