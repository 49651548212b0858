"""Where a process shows its metrics and its health, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import variables

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """The address of /metrics and /health; ``port`` None: nowhere, 0: any that is free."""

    host: str = "127.0.0.1"
    port: int | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "TelemetrySettings":
        """Read ``BATON_METRICS_*``. Raises SettingsError, naming the variable."""
        given = variables.METRICS_PORT.text(environ)
        port = variables.METRICS_PORT.whole(environ, 0, MAX_PORT) if given else None
        # An empty host would be every address of the machine.
        return cls(variables.METRICS_HOST.text(environ) or variables.METRICS_HOST.default, port)
