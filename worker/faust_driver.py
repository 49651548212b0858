"""Faust's Kafka driver, reading only committed commands, and no large ones.

Faust reads uncommitted unless it runs its own transactions, which lose outputs (measured; see
docs/architecture.md). A command that its producer took back must never be applied.

Faust queues up to 4096 commands, whatever their size; a shorter queue makes it pause for a second
each time that it is full (measured). So of a large command it queues only the place.
"""

from typing import Any

from faust import App
from faust import Worker as FaustWorker
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from yarl import URL

from telemetry.health import Health
from transport.ending import stop_in_time
from worker.inbox import UNREAD

# A new command must be seen at once; Faust asks for 1500 ms long polls, which also delay shutdown.
FETCH_WAIT_MS = 250
# Times 4096: 32 MiB at most.
QUEUED_BYTES = 8 * 1024


class _ConsumerThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - Faust's signature
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - Faust offers no setting
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - same
        return consumer


class _Consumer(Consumer):
    def _to_message(self, tp: Any, record: Any) -> Any:  # noqa: ANN401 - Faust's signature
        message = super()._to_message(tp, record)
        parts = [record.key, record.value, *(value for _, value in record.headers)]
        if sum(len(part) for part in parts if part is not None) > QUEUED_BYTES:
            message.key, message.value, message.headers = None, UNREAD, []
        return message

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer = _Consumer


class Worker(FaustWorker):
    """Faust's worker, which ends in time: without its broker it would wait for ever."""

    health: Health | None = None

    async def stop(self) -> None:
        """Stop the app: after a signal, or when it has failed."""
        if self.health is not None:
            self.health.stopping()
        stop_in_time("worker")
        await super().stop()


def broker_urls(bootstrap_servers: str) -> list[URL]:
    """Return what Faust calls ``host:port,host:port``."""
    servers = [server.strip() for server in bootstrap_servers.split(",")]
    return [URL(f"kafka://{server}") for server in servers if server]


def read_committed(app: App, urls: list[URL]) -> None:
    """Make ``app`` consume from the Kafka at ``urls`` read_committed."""
    app.transport = _Transport(urls, app)
