"""``baton up``: everything on this machine."""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click
from rich.markup import escape

from client.cli.common import ADDRESS, HOME, Command, Options, err, out, print_json
from client.supervisor import Supervisor
from transport.embedded import EmbeddedKafka
from transport.settings import Settings

WATCH_S = 0.2


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
    help="Gets JSON with bootstrap_servers once everything is ready.",
)
@click.pass_obj
def up(options: Options, port: int, data: Path, ready_file: Path | None) -> None:
    """Run Kafka, one worker and one scoring agent until Ctrl-C or SIGTERM.

    With --bootstrap-servers it uses that Kafka and starts none. What dies is restarted. Other
    commands in this folder find its Kafka by themselves.

    Example: baton up --port 9092
    """
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    given = options.bootstrap_servers
    # Entered last, left first: the address goes, then the services stop, then Kafka.
    with contextlib.ExitStack() as running:
        kafka = None
        if not given:
            kafka = EmbeddedKafka(data / "kafka", port, progress=_say)
            _say("starting Kafka")
            given = running.enter_context(kafka).bootstrap_servers
        settings = Settings.from_env(os.environ, bootstrap_servers=given)
        _say("starting a worker and a scoring agent")
        supervisor = Supervisor(settings, data / "logs", _say)
        running.callback(supervisor.stop)
        supervisor.start()
        if not supervisor.wait_until_ready(stop):
            return
        for goal in filter(None, (ADDRESS, ready_file)):
            running.callback(_remove, goal, _write(goal, given))
        running.callback(_say, "stopping")
        _ready(options, given, data)
        while not stop.wait(WATCH_S):
            supervisor.restart_the_dead()
            if kafka is not None and not kafka.running:
                _say("Kafka has died: starting it again on its data")
                kafka.start()


def _say(message: str) -> None:
    err.print(f"[dim]{escape(message)}[/]", soft_wrap=True)


def _ready(options: Options, servers: str, data: Path) -> None:
    if options.as_json:
        print_json({"ready": True, "bootstrap_servers": servers})
        return
    out.print(
        f"[green bold]baton is ready[/]: Kafka at {servers}, logs in {data / 'logs'}",
        soft_wrap=True,
    )
    out.print(
        "[dim]Ctrl-C stops everything. Next, in another terminal: baton space create demo[/]",
        soft_wrap=True,
    )
    sys.stdout.flush()


def _write(path: Path, servers: str) -> str:
    """Leave the address in ``path`` and return the file's text."""
    text = json.dumps({"bootstrap_servers": servers})
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
