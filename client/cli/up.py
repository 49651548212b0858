"""``baton up``: everything on this machine."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from client.cli.common import ADDRESS, HOME, Command, Options, err, escape, out, print_json
from client.supervisor import Supervisor
from transport.embedded import EmbeddedKafka
from transport.settings import Settings


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
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="Use this Kafka, start none.")
@click.pass_obj
def up(
    options: Options, port: int, data: Path, ready_file: Path | None, bootstrap_servers: str | None
) -> None:
    """Run Kafka, one worker and one scoring agent until Ctrl-C or SIGTERM.

    What dies is restarted. Other commands in this folder find its Kafka by themselves.

    Example: baton up --port 9092
    """
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    given = bootstrap_servers or options.bootstrap_servers
    kafka = None if given else EmbeddedKafka(data / "kafka", port, progress=_say)
    supervisor: Supervisor | None = None
    address = json.dumps({"bootstrap_servers": given})
    try:
        if kafka is not None:
            _say("starting Kafka")
            kafka.start()
            given = kafka.bootstrap_servers
            address = json.dumps({"bootstrap_servers": given})
        settings = Settings.from_env(os.environ, bootstrap_servers=given or "")
        _say("starting a worker and a scoring agent")
        supervisor = Supervisor(settings, data / "logs", _say)
        supervisor.start()
        if not supervisor.wait_until_ready(stop):
            return
        # Renamed into place: whoever sees the file reads it whole.
        for goal in filter(None, (ADDRESS, ready_file)):
            _write(goal, address)
        _ready(options, given or "", data)
        while not stop.wait(0.2):
            supervisor.restart_the_dead()
            if kafka is not None and not kafka.running:
                _say("Kafka has died: starting it again on its data")
                kafka.start()
    finally:
        _say("stopping")
        if ADDRESS.exists() and ADDRESS.read_text() == address:
            ADDRESS.unlink()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        if supervisor is not None:
            supervisor.stop()
        if kafka is not None:
            kafka.stop()


def _say(message: str) -> None:
    err.print(f"[dim]{escape(message)}[/]")


def _ready(options: Options, servers: str, data: Path) -> None:
    if options.as_json:
        print_json({"ready": True, "bootstrap_servers": servers})
        return
    out.print(f"[green bold]baton is ready[/]: Kafka at {servers}, logs in {data / 'logs'}")
    out.print("[dim]Ctrl-C stops everything. Next, in another terminal: baton space create demo[/]")
    sys.stdout.flush()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(path)
