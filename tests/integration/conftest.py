"""Services that run for a test or for a module."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from client import BatonClient, ScoringClient
from tests.integration.browser import CHROMIUM
from tests.support import DEADLINE_S, Process, Stack, new_settings
from transport.admin import ensure_topics
from transport.settings import Settings


@pytest.fixture(scope="module")
def own(bootstrap_servers, tmp_path_factory) -> Settings:
    """Settings with topics for this module alone."""
    return new_settings(bootstrap_servers, tmp_path_factory.mktemp("module"))


@pytest.fixture
async def settings(bootstrap_servers, tmp_path) -> Settings:
    """Settings with topics for this test alone; they are there."""
    found = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(found.bootstrap_servers, found.topics)
    return found


@pytest.fixture
def start(tmp_path) -> Iterator:
    """Start processes that end with the test."""
    started = []

    def begin(module: str, settings: Settings, **env: str) -> Process:
        process = Process(module, settings, tmp_path, **env)
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.popen.kill()
            process.popen.wait()


@pytest.fixture(scope="module")
async def stack(request, own, tmp_path_factory) -> AsyncIterator[Stack]:
    """A stack for the whole module; at its end both services stop cleanly.

    A module that waits for the end of a verification's time says so: VERIFY_TIME_LIMIT_S.
    """
    limit = getattr(request.module, "VERIFY_TIME_LIMIT_S", "600")
    folder = tmp_path_factory.mktemp("stack")
    services = [
        Process("worker", own, folder, BATON_VERIFY_TIME_LIMIT_S=limit),
        Process("scoring", own, folder, BATON_REVISION_WAIT_MS="1000"),
    ]
    try:
        for service in services:
            service.ready()
        async with (
            BatonClient(own, source="/test", timeout_s=DEADLINE_S) as baton,
            ScoringClient(own, timeout_s=DEADLINE_S) as scoring,
        ):
            yield Stack(own, folder, baton, scoring)
        assert [service.stop() for service in services] == [0, 0], services[0].tail()
    finally:
        for service in services:
            if service.popen.poll() is None:
                service.popen.kill()
                service.popen.wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where the module's console looks for experiments and saved models; nothing is there yet."""
    return tmp_path_factory.mktemp("lab") / ".baton"


@pytest.fixture(scope="module")
async def address(stack, home, tmp_path_factory) -> AsyncIterator[str]:
    """The address of a console beside the module's stack."""
    folder = tmp_path_factory.mktemp("console")
    env = {"BATON_CONSOLE_PORT": "0", "BATON_CONSOLE_HOME": str(home)}
    process = Process("console", stack.settings, folder, **env)
    try:
        yield process.ready().ready_file.read_text().rstrip("/")
        assert process.stop() == 0, process.tail()
    finally:
        process.kill()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        await chromium.close()


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("BATON_")]:
        monkeypatch.delenv(name)
