"""Faust's Kafka driver, reading only committed commands.

Faust reads uncommitted unless it runs its own transactions, which lose outputs (measured; see
docs/architecture.md). A command that its producer took back must never be applied.
"""

from typing import Any

from faust import App
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from yarl import URL

# A new command must be seen at once; Faust asks for 1500 ms long polls, which also delay shutdown.
FETCH_WAIT_MS = 250


class _ConsumerThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401 - Faust's signature
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - Faust offers no setting
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - same
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer = _Consumer


def read_committed(app: App, url: str) -> None:
    """Make ``app`` consume from the Kafka at ``url`` (``kafka://host:port``) read_committed."""
    app.transport = _Transport([URL(url)], app)
