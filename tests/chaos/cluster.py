"""Brokers, services and clients as processes, started again when they end, as `baton up` does."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from client.supervisor import child_environment
from tests.chaos.brokers import Brokers
from tests.chaos.schedule import CLIENTS, SERVICES
from tests.support import until
from transport.embedded.guard import die_with_parent
from transport.settings import Settings

POLL_S = 0.1
STOP_S = 90.0
# Two seconds where nothing else runs; on a machine that others load as well it may be a minute.
MEND_S = 180.0
# Stopped, killed by this harness, or ended by itself because it could not go on safely.
RIGHT_ENDS = {0, 70, -signal.SIGKILL}


class Member:
    """One process of the cluster; its log is kept."""

    def __init__(
        self, name: str, command: list[str], settings: Settings, folder: Path, **env: str
    ) -> None:
        self.name = name
        stem = folder / f"{name}-{time.monotonic_ns()}"
        self.ready_file, self.log = stem.with_suffix(".ready"), stem.with_suffix(".log")
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the harness has one thread
                env=child_environment(settings)
                | {"BATON_READY_FILE": str(self.ready_file), "CHAOS_MOMENT": str(stem)}
                | env,
            )

    def arm(self) -> None:
        """Let a variant stop when it comes to its moment (``variants.moment``)."""
        self.ready_file.with_suffix(".armed").touch()

    @property
    def reached(self) -> bool:
        """Whether it has come to its moment."""
        return self.ready_file.with_suffix(".reached").exists()

    def go(self) -> None:
        """Let it go on from its moment."""
        self.ready_file.with_suffix(".go").touch()

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.popen.poll()

    @property
    def ready(self) -> bool:
        """Whether it serves; of a client, whether it can be told to stop."""
        return self.ready_file.exists()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.popen.terminate()
        return self.popen.wait(STOP_S)

    def tail(self) -> str:
        """The end of its log."""
        return f"{self.name} ({self.status}):\n{self.log.read_text(errors='replace')[-3000:]}"

    def check(self) -> None:
        """Fail where it ended in a way that nobody asked for."""
        assert self.status in RIGHT_ENDS | {None}, self.tail()


class Cluster:
    """Two workers, two agents and their clients on a Kafka of their own.

    ``env`` holds more settings of the services.
    """

    def __init__(
        self, settings: Settings, folder: Path, kafka: Brokers, seed: int, **env: str
    ) -> None:
        self.settings, self.folder, self.kafka, self._seed = settings, folder, kafka, seed
        self._env = env
        self.members: dict[str, Member] = {}
        self.ended_by_themselves = 0

    def start(self, name: str, *variant: str) -> Member:
        """Start the member ``name``: ``worker-1``, ``requests-2``; a service also as a variant."""
        kind, number = name.split("-")
        if name in CLIENTS or kind == "offsets":
            folder = str(self.folder)
            command = ["tests.chaos.clients", kind, str(self._seed), number, folder]
        else:
            command = ["tests.chaos.variants", *variant, kind] if variant else [kind]
        member = Member(name, command, self.settings, self.folder, **self._env)
        self.members[name] = member
        return member

    def watch(self, seconds: float) -> None:
        """Let ``seconds`` pass; what ends meanwhile is started again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._restart_the_dead()
            time.sleep(POLL_S)

    def mend(self) -> None:
        """Start again what has ended, until all serve."""
        end = time.monotonic() + MEND_S
        while not all(self.members[name].ready for name in SERVICES):
            waits = [self.members[name] for name in SERVICES if not self.members[name].ready]
            told = "\n".join(member.tail() for member in waits)
            assert time.monotonic() < end, f"not ready after {MEND_S:.0f} s:\n{told}"
            self.watch(POLL_S)

    def stop(self, *names: str) -> None:
        """End members by SIGTERM: with status 0, and nothing else. The others are kept running."""
        members = [self.members.pop(name) for name in names]
        for member in members:
            member.check()
        # Who was killed a moment ago by the last fault has ended already, and needs no successor;
        # or that has begun, and would die of a signal that it does not know yet.
        leaving = [member for member in members if member.status is None]
        until(
            lambda: all(member.ready or member.status is not None for member in leaving),
            "those who are to stop can be told to",
        )
        for member in leaving:
            member.popen.terminate()
        end = time.monotonic() + STOP_S
        while time.monotonic() < end and any(member.status is None for member in leaving):
            self.watch(POLL_S)
        for member in leaving:
            if member.status is None:
                member.kill()
            assert member.status == 0, member.tail()

    def tails(self) -> str:
        """The ends of all logs."""
        return "\n".join(member.tail() for member in self.members.values())

    def kill_all(self) -> None:
        """Leave nothing behind."""
        for member in self.members.values():
            if member.status is None:
                member.kill()

    def _restart_the_dead(self) -> None:
        for name, member in list(self.members.items()):
            if member.status is not None:
                member.check()
                self.ended_by_themselves += member.status == 70
                self.start(name)
