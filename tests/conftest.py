"""The broker for tests: BATON_BOOTSTRAP_SERVERS, else a container, else the embedded one."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import hypothesis
import pytest

from scoring.settings import AT_LEAST_ONCE, EXACTLY_ONCE
from transport.embedded import EmbeddedKafka

# The machines are shared: a slow example is no failure.
hypothesis.settings.register_profile(
    "baton", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("baton")

# A broker of a test lives for seconds or minutes: better compiled once, quickly, than well (a sixth
# less CPU time, measured over two files of tests).
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

IMAGE = "apache/kafka:4.2.2"


def pytest_addoption(parser):
    chaos = parser.getgroup("chaos")
    chaos.addoption("--seed", type=int, help="Repeats a run of the chaos tests; else a fresh one.")
    chaos.addoption(
        "--delivery",
        choices=(EXACTLY_ONCE, AT_LEAST_ONCE),
        default=EXACTLY_ONCE,
        help="How the agents answer.",
    )
    chaos.addoption("--brokers", type=int, default=1, help="How many brokers Kafka has.")
    chaos.addoption("--minutes", type=float, default=1.0, help="How long faults are made.")
    pages = parser.getgroup("pages")
    pages.addoption(
        "--screenshots", action="store_true", help="Keep the pages in docs/screenshots."
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001 - pytest names them
    """Let what was logged be told by the process that ran the test: hostile text is no UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        asked = subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    if given := os.environ.get("BATON_BOOTSTRAP_SERVERS"):
        yield given
    elif docker_answers():
        yield from container()
    else:
        with EmbeddedKafka(progress=print) as kafka:
            yield kafka.bootstrap_servers


def container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    from transport.embedded.broker import free_port

    port = free_port()
    broker = (
        DockerContainer(IMAGE)
        .with_bind_ports(9092, port)
        .with_env("KAFKA_NODE_ID", "1")
        .with_env("KAFKA_PROCESS_ROLES", "broker,controller")
        .with_env("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093")
        .with_env("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093")
        .with_env("KAFKA_ADVERTISED_LISTENERS", f"PLAINTEXT://127.0.0.1:{port}")
        .with_env(
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        )
        .with_env("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
        .with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        .with_env("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1")
        .with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        .with_env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        .with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
    )
    with broker:
        wait_for_logs(broker, "Kafka Server started", timeout=60)
        yield f"127.0.0.1:{port}"
