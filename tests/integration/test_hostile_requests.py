"""Requests as no client of ours would send them: they are read, and answered."""

import asyncio
import json
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from tests.integration.test_hostile_commands import (
    Latin1,
    Plane,
    compressed,
    publish_batch,
    record_batch,
)
from tests.support import eventually, new_settings, read_all
from transport.header_names import _Records

pytestmark = pytest.mark.broker

YEAR_2100_MS = 4_102_444_800_000


async def test_neither_clock_nor_codec_nor_header_names_keep_a_request_from_its_answer(
    start, bootstrap_servers, tmp_path, monkeypatch
):
    settings = new_settings(bootstrap_servers, tmp_path)
    agent = await asyncio.to_thread(start("scoring", settings).ready)
    requests = Plane(settings, None, None)
    requests.topic = settings.topics.requests
    before = time.time_ns() // 1_000_000
    body = json.dumps({"input_data": [{"values": [[1.0]]}]}).encode()

    def headers(name):
        return [("deployment-id", b"none"), ("request-id", name.encode())]

    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for stamp in (0, 1, YEAR_2100_MS):
            await producer.send_and_wait(
                requests.topic.name,
                body,
                partition=0,
                timestamp_ms=stamp,
                headers=headers(f"stamped-{stamp}"),
            )
    await publish_batch(requests, compressed(record_batch(body, headers("zstd"))), 0)
    latin = [*headers("latin"), (Latin1("größe"), b"1")]
    await publish_batch(requests, record_batch(body, latin), 0)
    answers = {}

    async def answered():
        for record in await read_all(settings, settings.topics.responses):
            answers[dict(record.headers)["request-id"].decode()] = record
        return len(answers) == 5

    await eventually(answered, "every request is answered")
    assert set(answers) == {"stamped-0", "stamped-1", f"stamped-{YEAR_2100_MS}", "zstd", "latin"}
    # What the agent does in its main.
    monkeypatch.setattr("aiokafka.consumer.fetcher.MemoryRecords", _Records)
    sent = await read_all(settings, settings.topics.requests)
    # Retention goes by these.
    for record in (*sent, *answers.values()):
        assert before - 1000 < record.timestamp < time.time_ns() // 1_000_000 + 1000
    assert agent.stop() == 0


@pytest.mark.parametrize("packing", [None, "gzip"])
async def test_what_would_unpack_to_more_than_a_record_may_have_reaches_no_reader(
    start, bootstrap_servers, tmp_path, packing
):
    settings = new_settings(bootstrap_servers, tmp_path)
    await asyncio.to_thread(start("scoring", settings).ready)
    # 16 KB of gzip. Each reader would hold all of it in memory.
    bomb = b"0" * 16 * 1024**2
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        max_request_size=2 * len(bomb),
        compression_type=packing,
    ) as producer:
        for topic in (settings.topics.requests, settings.topics.commands):
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic.name, bomb, partition=0)
            assert await read_all(settings, topic) == []
