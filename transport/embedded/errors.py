"""What can keep the embedded broker from running."""

from schemas.errors import BatonError


class EmbeddedKafkaError(BatonError):
    """The embedded Kafka cannot run here and now; the message says what to do about it."""

    code = "embedded_kafka"
