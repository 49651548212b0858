"""The memory of requests: what the same id is worth."""

import asyncio

import pytest

from console import answers
from console.answers import Answer, Answers, RequestIdReusedError


def answer(request_id, value=b"{}"):
    return Answer(request_id, {"revision": b"3", "asset-id": None}, value, 0, 7)


def test_the_first_answer_counts():
    memory = Answers()
    asked = memory.asked("r", b"digest")
    memory.answered(answer("r", b"first"), ours=True)
    memory.answered(answer("r", b"again"), ours=True)
    assert memory.get("r", b"digest") is asked
    assert asked.answer.value == b"first"
    assert (asked.answer.header("revision"), asked.answer.header("asset-id")) == ("3", None)


async def test_all_who_wait_get_it():
    memory = Answers()
    asked = memory.asked("r", b"digest")
    waiting = [asyncio.get_running_loop().create_future() for _ in range(2)]
    waiting[0].cancel()
    asked.waiting.update(waiting)
    memory.answered(answer("r"), ours=True)
    assert waiting[1].result().request_id == "r"


async def test_a_request_that_does_not_get_out_is_told_and_forgotten():
    memory = Answers()
    waiting = asyncio.get_running_loop().create_future()
    memory.asked("r", b"digest").waiting.add(waiting)
    memory.not_sent("r", ConnectionError("gone"))
    assert isinstance(waiting.exception(), ConnectionError)
    assert memory.get("r", b"digest") is None
    # Its id is free again, and what was answered is not taken back.
    memory.asked("r", b"other")
    memory.answered(answer("r"), ours=True)
    memory.not_sent("r", ConnectionError())
    assert memory.get("r", b"other").answer is not None


def test_an_id_belongs_to_one_request():
    memory = Answers()
    memory.asked("r", b"digest")
    with pytest.raises(RequestIdReusedError, match="r belongs to another request"):
        memory.get("r", b"another")


def test_another_console_s_answer_is_known_and_a_stranger_s_is_not():
    memory = Answers()
    memory.answered(answer("theirs"), ours=True)
    memory.answered(answer("strange"), ours=False)
    assert memory.get("theirs", b"any").answer is not None
    assert memory.get("strange", b"any") is None


def test_it_keeps_within_its_bytes_oldest_out_first(monkeypatch):
    monkeypatch.setattr(answers, "MEMORY_BYTES", 3000)
    memory = Answers()
    for number in range(4):
        memory.answered(answer(f"r{number}", b"x" * 500), ours=True)
    assert memory.get("r0", b"") is None
    assert memory.get("r3", b"").answer is not None


async def test_what_is_old_or_unanswered_for_long_goes_but_not_while_someone_waits(monkeypatch):
    monkeypatch.setattr(answers, "MAX_UNANSWERED", 2)
    memory = Answers()
    first = memory.asked("r0", b"d")
    waiting = asyncio.get_running_loop().create_future()
    first.waiting.add(waiting)
    for number in range(1, 4):
        memory.asked(f"r{number}", b"d")
    assert memory.get("r0", b"d") is first
    first.waiting.discard(waiting)
    assert memory.get("r0", b"d") is None
    monkeypatch.setattr(answers, "MEMORY_S", -1.0)
    assert memory.get("r3", b"d") is None
