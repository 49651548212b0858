"""The broker's configuration files."""

import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path

# Few partitions of the internal topics, so that it starts quickly.
# broker.session.timeout.ms: after a kill -9 a restart waits for its own old session (measured:
# 12 s by default, 5 s with these).
SERVER = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

LOG4J = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="[%d] %p %m (%c)%n"/>
      <Policies><SizeBasedTriggeringPolicy size="20MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


def new_cluster_id() -> str:
    """Return an id as Kafka makes them: 16 bytes in URL-safe base64, without the padding."""
    # Its first character is a letter: a leading "-" would be taken for an option.
    return "K" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


@dataclass(frozen=True, slots=True)
class Quorum:
    """The brokers of one Kafka, each a controller as well; ``node``, from 1, is one of them.

    Every topic has a copy on each, and a write is acknowledged by all of them but one.
    """

    controller_ports: tuple[int, ...]
    node: int = 1
    cluster_id: str = field(default_factory=new_cluster_id)

    @property
    def copies(self) -> int:
        """How many brokers there are."""
        return len(self.controller_ports)

    @property
    def voters(self) -> str:
        """``controller.quorum.voters``."""
        ports = enumerate(self.controller_ports, start=1)
        return ",".join(f"{node}@127.0.0.1:{port}" for node, port in ports)


def write(folder: Path, *, port: int, quorum: Quorum) -> tuple[Path, Path]:
    """Write both files into ``folder``; return the broker's and the logging configuration."""
    server, log4j = folder / "server.properties", folder / "log4j2.xml"
    server.write_text(
        SERVER.format(
            node=quorum.node,
            port=port,
            controller_port=quorum.controller_ports[quorum.node - 1],
            voters=quorum.voters,
            copies=quorum.copies,
            in_sync=max(1, quorum.copies - 1),
            logs=folder / "logs",
        )
    )
    log4j.write_text(LOG4J.format(log=folder / "kafka.log"))
    return server, log4j
