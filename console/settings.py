"""The console's settings, from the environment."""

import getpass
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.supervisor import CONSOLE_PORT
from schemas.errors import SettingsError
from transport.settings import Settings

HOST = "127.0.0.1"
PORT = CONSOLE_PORT
LAST_PORT = 65535


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Where it listens, who may call it, and its bounds.

    ``token`` is asked of every caller where it is set, and made up where the console is bound to
    an address that other machines reach. ``hosts`` are the names it answers to beside its address.
    ``in_flight`` bounds the requests that wait for an answer; ``answer_timeout_s`` how long.
    """

    kafka: Settings
    host: str = HOST
    port: int = PORT
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    actor: str = field(default_factory=_whoami)
    in_flight: int = 512
    answer_timeout_s: float = 30.0
    upload_bytes: int = 512 * 1024**2
    ready_file: Path | None = None
    token_made_up: bool = False

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
        host = environ.get("BATON_CONSOLE_HOST") or HOST
        token = environ.get("BATON_CONSOLE_TOKEN") or None
        made_up = token is None and not is_loopback(host)
        ready_file = environ.get("BATON_READY_FILE")
        port = _count(environ, "BATON_CONSOLE_PORT", PORT, least=0)
        if port > LAST_PORT:
            raise SettingsError(f"BATON_CONSOLE_PORT is at most {LAST_PORT}, not {port}")
        return cls(
            kafka=Settings.from_env(environ),
            host=host,
            port=port,
            token=secrets.token_urlsafe(24) if made_up else token,
            hosts=tuple(
                name.strip().lower()
                for name in environ.get("BATON_CONSOLE_HOSTS", "").split(",")
                if name.strip()
            ),
            in_flight=_count(environ, "BATON_CONSOLE_IN_FLIGHT", 512),
            answer_timeout_s=_count(environ, "BATON_CONSOLE_TIMEOUT_MS", 30_000) / 1000,
            upload_bytes=_count(environ, "BATON_CONSOLE_UPLOAD_MB", 512) * 1024**2,
            ready_file=Path(ready_file) if ready_file else None,
            token_made_up=made_up,
        )


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine and reached from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _count(environ: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise SettingsError(f"{name} must be a whole number from {least}, not {text!r}")
    return int(text)
