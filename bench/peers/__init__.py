"""What people would use instead of Baton: each scores the same requests, on the same broker.

Each one reads the requests' topic, predicts, and writes the answer with its request's headers to
the responses' topic. Those whose packages are not Baton's run in an environment of their own.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import orjson

from bench.peers import environments, kstreams, mlserver
from client.supervisor import child_environment
from transport.settings import Settings

EXACTLY_ONCE, AT_LEAST_ONCE, AT_MOST_ONCE = "exactly once", "at least once", "at most once"
SCRIPTS = Path(__file__).with_name("scripts")
# What a process may take to end when it is asked to; then it is killed.
STOP_S = 10.0
TAIL = 25
NO_REPLACING = "does not validate requests or replace the model; "


@dataclass(frozen=True)
class Peer:
    """What is compared with Baton, and what it does not do that Baton does."""

    name: str
    title: str
    guarantee: str
    lacks: str
    versions: Callable[[], dict[str, str]]


def _own(*packages: str) -> dict[str, str]:
    return {name: version(name) for name in packages}


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "ceiling",
            "Record-batch echo (the ceiling)",
            EXACTLY_ONCE,
            "does not decode, predict, encode, validate or replace anything, and never rebalances",
            lambda: _own("aiokafka"),
        ),
        Peer(
            "confluent",
            "confluent-kafka, batched by hand",
            EXACTLY_ONCE,
            NO_REPLACING + "one bad request ends the process",
            lambda: environments.versions("confluent", "confluent-kafka", "orjson", "scikit-learn"),
        ),
        Peer(
            "kstreams",
            "Kafka Streams with ONNX Runtime",
            EXACTLY_ONCE,
            NO_REPLACING + "a bad request ends the stream; predicts in single precision",
            kstreams.versions,
        ),
        Peer(
            "kstreams-10ms",
            "Kafka Streams with ONNX Runtime, commit.interval.ms=10",
            EXACTLY_ONCE,
            NO_REPLACING + "a bad request ends the stream; predicts in single precision",
            kstreams.versions,
        ),
        Peer(
            "faust",
            "Faust agent, batched with take",
            AT_LEAST_ONCE,
            NO_REPLACING + "may answer twice after a crash",
            lambda: _own("faust-streaming", "aiokafka"),
        ),
        Peer(
            "quix",
            "Quix Streams",
            AT_LEAST_ONCE,
            NO_REPLACING
            + "may answer twice after a crash; answers on any partition, predicts a record a call",
            lambda: environments.versions("quix", "quixstreams", "confluent-kafka", "scikit-learn"),
        ),
        Peer(
            "mlserver",
            "MLServer with Kafka and adaptive batching",
            # It keeps no offsets at all: what comes while it is away is never answered.
            AT_MOST_ONCE,
            "keeps no offsets and forgets requests when it ends; one process has to read every "
            "partition; answers do not carry their requests' headers",
            mlserver.versions,
        ),
    )
}


def prepare(name: str, progress: Callable[[str], None] = print) -> None:
    """Install what the peer ``name`` needs, unless that was done before.

    Raises RuntimeError or EmbeddedKafkaError where it cannot be had.
    """
    if name in OWN_ENVIRONMENT:
        environments.make(OWN_ENVIRONMENT[name], progress)
    if name in kstreams.INTERVALS:
        kstreams.prepare(progress)


# Which lock a peer's environment is made of.
OWN_ENVIRONMENT = {
    "confluent": "confluent",
    "quix": "quix",
    "mlserver": "mlserver",
    "kstreams": "kstreams",
    "kstreams-10ms": "kstreams",
}


def request(
    name: str, fields: Sequence[str], row: Sequence[float]
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the value and the headers, but for the request's id, that ask ``name`` for one row."""
    if name == "mlserver":
        return mlserver.request(row)
    table = {"fields": list(fields), "values": [list(row)]}
    return orjson.dumps({"input_data": [table]}), [("deployment-id", b"bench")]


@contextlib.contextmanager
def running(name: str, settings: Settings, model: Path, folder: Path) -> Iterator[None]:
    """Run the prepared peer ``name`` with the joblib file ``model`` until the block ends.

    ``folder`` takes its log and files. Raises RuntimeError with the end of its log where it died
    before the block ended, whatever the block itself raises then.
    """
    place = folder / f"{settings.app}-{name}"
    place.mkdir(parents=True, exist_ok=True)
    command, more = _command(name, settings, model, place)
    log = place / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=_environment(settings, model) | more, cwd=place, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    except Exception as error:
        if process.poll() is not None:
            raise _died(name, process, log) from error
        raise
    else:
        if process.poll() is not None:
            raise _died(name, process, log)
    finally:
        _stop(process)


def _command(
    name: str, settings: Settings, model: Path, place: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs ``name``, and the variables it needs beside the common ones."""
    if name in kstreams.INTERVALS:
        return kstreams.command(name, model, place), {}
    if name == "mlserver":
        return mlserver.command(settings, model, place)
    if name == "confluent":
        return [str(environments.python(name)), str(SCRIPTS / "confluent_loop.py")], {}
    if name == "quix":
        return [str(environments.python(name)), str(SCRIPTS / "quix_stream.py")], {}
    # These two run in Baton's own environment.
    own = {"PYTHONPATH": child_environment(settings)["PYTHONPATH"]}
    if name == "faust":
        script = [str(SCRIPTS / "faust_agent.py"), "worker", "--without-web", "-l", "warn"]
        return [sys.executable, *script], own
    if name == "ceiling":
        return [sys.executable, "-m", "bench.peers.ceiling"], own
    raise ValueError(f"expected one of {', '.join(PEERS)}, not {name!r}")


def _environment(settings: Settings, model: Path) -> dict[str, str]:
    found = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    return found | settings.environment() | {
        "PEER_SERVERS": settings.bootstrap_servers,
        "PEER_REQUESTS": settings.topics.requests.name,
        "PEER_RESPONSES": settings.topics.responses.name,
        "PEER_GROUP": settings.app,
        "PEER_MODEL": str(model.absolute()),
        # Its threads only hinder each other on matrices as small as these.
        "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Some have processes of their own, which outlive them where they are killed.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _died(name: str, process: subprocess.Popen[bytes], log: Path) -> RuntimeError:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
    return RuntimeError(f"{name} died with status {process.returncode}; its log ends:\n{tail}")
