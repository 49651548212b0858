"""The worker's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SettingsError
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

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "WorkerSettings":
        """Read ``BATON_*``. Raises SettingsError, naming the variable."""
        ready_file = environ.get("BATON_READY_FILE")
        versions = environ.get("BATON_ALLOWED_VERSIONS", "")
        return cls(
            kafka=Settings.from_env(environ),
            verify_time_limit_s=_number(environ, "BATON_VERIFY_TIME_LIMIT_S", 60.0),
            verify_memory_limit_bytes=int(
                _number(environ, "BATON_VERIFY_MEMORY_LIMIT_MB", 2048) * 1024**2
            ),
            update_deadline_ms=int(_number(environ, "BATON_UPDATE_DEADLINE_S", 600.0) * 1000),
            allowed_versions=tuple(v.strip() for v in versions.split(",") if v.strip()),
            ready_file=Path(ready_file) if ready_file else None,
        )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"{name} must be a positive number, not {text!r}")
    return number
