"""The console's settings, from the environment."""

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.commands import whoami
from client.supervisor import CONSOLE_PORT
from schemas import variables
from telemetry.settings import TelemetrySettings
from transport.settings import Settings

HOST = "127.0.0.1"
PORT = CONSOLE_PORT
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Where it listens, who may call it, and its bounds.

    ``token`` is asked of every caller where it is set, and made up where the console is bound to
    an address that other machines reach. ``hosts`` are the names it answers to beside its address.
    ``in_flight`` bounds the requests that wait for an answer; ``answer_timeout_s`` how long.
    ``streams`` bounds the event streams that are open at once.
    ``compare_s`` and ``compare_bytes`` bound each model whose predictions are compared.
    ``home`` holds the experiments and models of the ``baton`` command.
    """

    kafka: Settings
    host: str = HOST
    port: int = PORT
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    actor: str = field(default_factory=whoami)
    in_flight: int = 512
    answer_timeout_s: float = 30.0
    streams: int = 200
    upload_bytes: int = 512 * 1024**2
    compare_s: float = 60.0
    compare_bytes: int = 2 * 1024**3
    home: Path = Path(variables.CONSOLE_HOME.default)
    ready_file: Path | None = None
    token_made_up: bool = False
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host = HOST if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "ConsoleSettings":
        """Read ``BATON_*``. Raises SettingsError, naming the variable."""
        # One that is set to nothing is not set: compose passes on what its shell has not.
        given = {name: text for name, text in environ.items() if text}
        host = variables.CONSOLE_HOST.text(given)
        token = variables.CONSOLE_TOKEN.text(given) or None
        made_up = token is None and not is_loopback(host)
        names = variables.CONSOLE_HOSTS.text(given).split(",")
        return cls(
            kafka=Settings.from_env(environ),
            host=host,
            port=variables.CONSOLE_PORT.whole(given, least=0, most=LAST_PORT),
            token=secrets.token_urlsafe(24) if made_up else token,
            hosts=tuple(name.strip().lower() for name in names if name.strip()),
            in_flight=variables.CONSOLE_IN_FLIGHT.whole(given),
            answer_timeout_s=variables.CONSOLE_TIMEOUT.whole(given) / 1000,
            streams=variables.CONSOLE_STREAMS.whole(given),
            upload_bytes=variables.CONSOLE_UPLOAD.whole(given) * 1024**2,
            compare_s=variables.VERIFY_TIME_LIMIT.positive(given),
            compare_bytes=int(variables.VERIFY_MEMORY_LIMIT.positive(given) * 1024**2),
            home=Path(variables.CONSOLE_HOME.text(given)),
            ready_file=variables.READY_FILE.path(given),
            token_made_up=made_up,
            telemetry=TelemetrySettings.from_env(given),
        )


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine and reached from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
