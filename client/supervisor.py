"""Child processes of ``baton up``: started, watched, restarted, stopped in order."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas import variables
from schemas.errors import BatonError
from telemetry.settings import MAX_PORT, TelemetrySettings
from transport.embedded.guard import die_with_parent
from transport.settings import Settings

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
# One that has lived so long has not died of how it was started.
SETTLED_S = 30.0
TAIL_LINES = 15
# The last one stops first: what scoring has not answered is answered after the next start.
MODULES = ("worker", "scoring")
# Comes after those: it asks them.
CONSOLE = "console"
# The console's, unless it is told another (BATON_CONSOLE_PORT).
CONSOLE_PORT = int(variables.CONSOLE_PORT.default)

Say = Callable[[str], None]


class SupervisorError(BatonError):
    """A service does not start."""

    code = "service_failed"


@dataclass(slots=True)
class _Service:
    """One child process and its restarts."""

    name: str
    command: Sequence[str]
    ready_file: Path
    log: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    due: float = field(default=0.0)


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a child process these settings and these packages."""
    root = str(Path(__file__).parents[1])
    path = os.environ.get("PYTHONPATH")
    found = {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
    return os.environ | settings.environment() | found


def started_by(modules: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the command that starts each of these services, by its name."""
    return {name: [sys.executable, "-m", name] for name in modules}


def metrics_ports(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, int]:
    """Return the port of each service's metrics: BATON_METRICS_PORT, and those that follow.

    0 stays 0, a free one for each; nothing where it is not set. Raises SettingsError.
    """
    services = list(names)
    if not variables.METRICS_PORT.text(environ):
        return {}
    first = variables.METRICS_PORT.whole(environ, 0, MAX_PORT - len(services) + 1)
    return {name: first and first + number for number, name in enumerate(services)}


class Supervisor:
    """Keeps one process of each service running. They end with this process.

    ``commands`` names the services and how each is started (None: those of MODULES);
    ``environment`` is added to what ``settings`` give them.
    """

    def __init__(
        self,
        settings: Settings,
        logs: Path,
        say: Say,
        commands: Mapping[str, Sequence[str]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._say = say
        self._environment = child_environment(settings) | dict(environment or {})
        self._scratch = tempfile.TemporaryDirectory(prefix="baton-up-")
        commands = commands or started_by(MODULES)
        self._ports = metrics_ports(commands, self._environment)
        self._services = [
            _Service(
                name,
                command,
                ready_file := Path(self._scratch.name) / name,
                logs / f"{name}.log",
                {"BATON_READY_FILE": str(ready_file)}
                | ({"BATON_METRICS_PORT": str(self._ports[name])} if name in self._ports else {}),
            )
            for name, command in commands.items()
        ]

    @property
    def pids(self) -> dict[str, int]:
        """The processes by service."""
        return {s.name: s.process.pid for s in self._services if s.process is not None}

    @property
    def metrics(self) -> dict[str, str]:
        """The address of each service's metrics; of a port that it chooses, where that is told."""
        host = TelemetrySettings.from_env(self._environment).host
        return {
            service.name: f"http://{host}:{port}/metrics" if port else f"see {service.log}"
            for service in self._services
            if (port := self._ports.get(service.name)) is not None
        }

    def ready_text(self, name: str) -> str:
        """Return what the service has said when it was ready: the console says its address."""
        return next(s.ready_file.read_text() for s in self._services if s.name == name)

    def start(self) -> None:
        """Start every service."""
        for service in self._services:
            self._start(service)

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """Return once every service serves; False where ``stop`` came first.

        Raises SupervisorError where one ends or takes too long, with the end of its log.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not all(service.ready_file.exists() for service in self._services):
            if stop.wait(POLL_S):
                return False
            for service in self._services:
                if service.process is not None and service.process.poll() is not None:
                    raise SupervisorError(
                        f"the {service.name} ended at once:\n{_tail(service.log)}"
                    )
                if time.monotonic() > deadline:
                    raise SupervisorError(
                        f"not ready after {READY_TIMEOUT_S:.0f} s; see {service.log.parent}"
                    )
        return True

    def restart_the_dead(self) -> None:
        """Start again what has died, after a pause that doubles while it keeps dying."""
        now = time.monotonic()
        for service in self._services:
            process = service.process
            if process is not None and process.poll() is not None:
                if now - service.started > SETTLED_S:
                    service.pause_s = FIRST_PAUSE_S
                self._say(
                    f"the {service.name} ended ({_end(process.returncode)}): restarting in "
                    f"{service.pause_s:g} s; its log is {service.log}"
                )
                service.process = None
                service.due = now + service.pause_s
                service.pause_s = min(2 * service.pause_s, LONGEST_PAUSE_S)
            elif process is None and now >= service.due:
                self._start(service)

    def stop(self) -> None:
        """Stop the services, the last one first, each given time to end its running batch."""
        for service in reversed(self._services):
            process = service.process
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._say(f"the {service.name} does not stop: killed")
                process.kill()
                process.wait()
            service.process = None
        self._scratch.cleanup()

    def _start(self, service: _Service) -> None:
        service.ready_file.unlink(missing_ok=True)
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(  # noqa: S603 - Baton's own services
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A terminal's Ctrl-C comes to this process, which stops them in order.
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
                env=self._environment | service.environment,
            )
        service.started = time.monotonic()


def _end(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    return ""
