"""One Kafka of one broker or several, each of which can be struck."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psutil

from tests.support import until
from transport.embedded import EmbeddedKafka
from transport.embedded.broker import free_port
from transport.embedded.config import Quorum, new_cluster_id


class Brokers:
    """``count`` brokers, ``broker-1`` and so on, with a copy of everything on each.

    One may be away: then the others elect leaders, and a write is acknowledged by both of three.
    """

    def __init__(self, folder: Path, count: int = 1) -> None:
        ports = tuple(free_port() for _ in range(count))
        cluster_id = new_cluster_id()
        self._brokers = {
            f"broker-{node}": EmbeddedKafka(
                folder / f"broker-{node}", free_port(), quorum=Quorum(ports, node, cluster_id)
            )
            for node in range(1, count + 1)
        }

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all."""
        return ",".join(broker.bootstrap_servers for broker in self._brokers.values())

    def start(self, *names: str) -> None:
        """Return once they answer; each of several does as soon as most of them run."""
        with ThreadPoolExecutor(len(self._brokers)) as threads:
            list(threads.map(lambda name: self._brokers[name].start(), names))

    def kill(self, name: str) -> None:
        """SIGKILL; return once it is gone."""
        broker = self._brokers[name]
        psutil.Process(broker.pid).kill()
        until(lambda: not broker.running, f"{name} is gone")

    def signal(self, name: str, number: int) -> None:
        """Send it a signal."""
        pid = self._brokers[name].pid
        assert pid is not None
        os.kill(pid, number)

    def __enter__(self) -> Self:
        self.start(*self._brokers)
        return self

    def __exit__(self, *_: object) -> None:
        # At once: the last of several would wait for the others.
        with ThreadPoolExecutor(len(self._brokers)) as threads:
            list(threads.map(EmbeddedKafka.stop, self._brokers.values()))
