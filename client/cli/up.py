"""``baton up``: everything on this machine."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click
from rich.markup import escape

from client.cli.common import ADDRESS, HOME, Command, Options, err, out, print_document
from client.supervisor import CONSOLE, CONSOLE_PORT, MODULES, Supervisor, metrics_ports, started_by
from transport.embedded import EmbeddedKafka
from transport.settings import Settings

WATCH_S = 0.2
LOCAL = "127.0.0.1"


@click.command(cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Kafka's port; 0: a free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=HOME,
    show_default=True,
    help="Where Kafka's data and the logs are kept.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets JSON with bootstrap_servers and console once everything is ready.",
)
@click.option(
    "--console-port",
    type=click.IntRange(0, 65535),
    envvar="BATON_CONSOLE_PORT",
    help=f"The console's; by default {CONSOLE_PORT}, or a free one where that is taken.",
)
@click.option("--no-console", is_flag=True, help="Start no console.")
@click.pass_obj
def up(  # noqa: PLR0913 - an option each
    options: Options,
    *,
    port: int,
    data: Path,
    ready_file: Path | None,
    console_port: int | None,
    no_console: bool,
) -> None:
    """Run Kafka, one worker, one scoring agent and the console until Ctrl-C or SIGTERM.

    With --bootstrap-servers it uses that Kafka and starts none. What dies is restarted. Other
    commands in this folder find its Kafka by themselves. With BATON_METRICS_PORT each service has a
    port for its metrics: the worker this one, scoring and console the next two.

    Example: baton up --port 9092
    """
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    given = options.bootstrap_servers
    modules = [*MODULES, *([] if no_console else [CONSOLE])]
    # Kafka takes its time: what is set wrongly is told before.
    metrics_ports(modules, os.environ)
    # Entered last, left first: the address goes, then the services stop, then Kafka.
    with contextlib.ExitStack() as running:
        kafka = None
        if not given:
            kafka = EmbeddedKafka(data / "kafka", port, progress=_say)
            _say("starting Kafka")
            given = running.enter_context(kafka).bootstrap_servers
        settings = Settings.from_env(os.environ, bootstrap_servers=given)
        _say(f"starting {', '.join(modules)}")
        supervisor = Supervisor(
            settings,
            data / "logs",
            _say,
            started_by(modules),
            # Fixed here: a console that is restarted comes back at the same address.
            {"BATON_CONSOLE_PORT": str(console_port or _console_port())},
        )
        running.callback(supervisor.stop)
        supervisor.start()
        if not supervisor.wait_until_ready(stop):
            return
        address = {"bootstrap_servers": given}
        if not no_console:
            address["console"] = supervisor.ready_text(CONSOLE)
        for goal in filter(None, (ADDRESS, ready_file)):
            running.callback(_remove, goal, _write(goal, address))
        running.callback(_say, "stopping")
        _ready(options, address, data, supervisor.metrics)
        while not stop.wait(WATCH_S):
            supervisor.restart_the_dead()
            if kafka is not None and not kafka.running:
                _say("Kafka has died: starting it again on its data")
                kafka.start()


def _say(message: str) -> None:
    err.print(f"[dim]{escape(message)}[/]", soft_wrap=True)


def _console_port() -> int:
    """Return the console's own port where it is free here, or another that is."""
    for port in (CONSOLE_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server((LOCAL, port)) as listening:
            found: int = listening.getsockname()[1]
            return found
    return CONSOLE_PORT


def _ready(
    options: Options, address: Mapping[str, str], data: Path, metrics: Mapping[str, str]
) -> None:
    if options.as_json:
        shown = {"metrics": metrics} if metrics else {}
        print_document({"ready": True, **address, **shown})
        return
    servers = address["bootstrap_servers"]
    out.print(
        f"[green bold]baton is ready[/]: Kafka at {servers}, logs in {data / 'logs'}",
        soft_wrap=True,
    )
    if "console" in address:
        out.print(f"The console: {address['console']}", soft_wrap=True)
    for name, where in metrics.items():
        out.print(f"Metrics of the {name}: {where}", soft_wrap=True)
    out.print(
        "[dim]Ctrl-C stops everything. Next, in another terminal: baton space create demo[/]",
        soft_wrap=True,
    )
    sys.stdout.flush()


def _write(path: Path, address: Mapping[str, str]) -> str:
    """Leave the address in ``path`` and return the file's text."""
    text = json.dumps(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: whoever sees the file reads it whole.
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(path)
    return text


def _remove(path: Path, text: str) -> None:
    # Another `baton up` in this folder may have left its own meanwhile.
    if path.exists() and path.read_text() == text:
        path.unlink()
