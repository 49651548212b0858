"""Pages that are live: charts of the traffic, what renews a page, and how many may be live."""

import asyncio
import contextlib
import re
import time

import httpx
import pytest
from playwright.async_api import expect
from prometheus_client.parser import text_string_to_metric_families

from client import CommandRejected
from tests.integration.browser import NEEDS_CHROMIUM, accessible, opened
from tests.support import DEADLINE_S, eventually

pytestmark = NEEDS_CHROMIUM

ROW = [[0.1, 0.2, 0.3]]
BURST = 30
PAUSE_S = 0.25


@contextlib.asynccontextmanager
async def trickle(stack, deployment):
    """Requests within the block, one after the other."""

    async def ask():
        while True:
            await stack.scoring.score(deployment, ROW)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_charts_and_what_renews_a_page(browser, address, stack):
    space, deployment, (_, two) = await stack.deployed()
    elsewhere, neighbour, (_, other) = await stack.deployed()
    page, second = await opened(browser, address), await opened(browser, address)
    # What came before anybody looked is shown, too.
    await stack.scoring.score(deployment, ROW)
    await page.goto(f"/deployments/{deployment}")
    fetched = []
    page.on("request", lambda request: fetched.append(request.url))
    own = page.url
    latency = page.locator("svg.chart").nth(2)
    await expect(latency).to_have_attribute("aria-label", re.compile(r"p50: last \d"))
    async with trickle(stack, deployment):
        await stack.baton.replace_asset(space, deployment, two)
        await expect(page.locator("#revision")).to_have_text("2")
        await expect(page.locator("svg.chart text.mark", has_text="rev 2")).to_have_count(3)
        rate = page.get_by_role("row", name="10 s").locator("td").first
        await expect(rate).to_have_text(re.compile(r"^[1-9]"))
    await accessible(page, "traffic")

    # Of its neighbour's events it hears nothing.
    await second.goto(f"/deployments/{neighbour}")
    before = fetched.count(own)
    await stack.baton.replace_asset(elsewhere, neighbour, other)
    await expect(second.locator("#revision")).to_have_text("2")
    assert fetched.count(own) == before > 0

    # Of its own many at once it is renewed a few times, the last time after the last of them.
    begun = time.monotonic()
    refusals = [stack.baton.replace_asset(space, deployment, two) for _ in range(BURST)]
    found = await asyncio.gather(*refusals, return_exceptions=True)
    assert all(isinstance(each, CommandRejected) for each in found)
    rejected = page.locator(".timeline strong", has_text="command-rejected")
    await expect(rejected).to_have_count(BURST)
    renewed = fetched.count(own) - before
    assert 0 < renewed <= (time.monotonic() - begun) / PAUSE_S + 2
    assert page.faults == second.faults == []


async def test_as_many_pages_are_live_as_may_be(browser, stack, start):
    settings = {"BATON_CONSOLE_PORT": "0", "BATON_CONSOLE_STREAMS": "1", "BATON_METRICS_PORT": "0"}
    process = start("console", stack.settings, **settings).ready()
    address = process.ready_file.read_text().rstrip("/")
    metrics = re.search(r"metrics on (\S+)/metrics", process.log.read_text())[1]
    first, second = await opened(browser, address), await opened(browser, address)
    async with httpx.AsyncClient(base_url=address) as client:
        await first.goto("/spaces")

        async def full():
            return (await measured(metrics))["baton_console_event_streams",] == 1

        await eventually(full, "the first page is live")
        refused = await client.get("/api/events/stream")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
        assert refused.headers["retry-after"] == "5"
        await second.goto("/spaces")
        await expect(second.locator("#connection")).to_be_visible()
        await expect(first.locator("#connection")).to_be_hidden()
        # It is told of, and the page is renewed with each try all the same.
        space, _, _ = await stack.deployed()
        await expect(second.get_by_role("link", name=space)).to_be_visible()
        await accessible(second, "not-live")
        await first.close()
        await expect(second.locator("#connection")).to_be_hidden()
        await client.get("/deployments/none")
        await client.get("/nowhere/at/all")
    found = await measured(metrics)
    requests = "baton_console_requests_total"
    assert found[requests, "GET", "/api/events/stream", "200"] == 2
    assert found[requests, "GET", "/api/events/stream", "503"] >= 2
    assert found[requests, "GET", "/deployments/{deployment_id}", "404"] == 1
    assert found[requests, "GET", "none", "404"] == 1
    assert found["baton_ready",] == 1
    assert 0 <= found["baton_console_state_age_seconds",] < DEADLINE_S
    assert (await get(f"{metrics}/health/ready")).status_code == 200
    assert process.stop() == 0, process.tail()


async def cut(route):
    await route.abort("connectionreset")


async def unavailable(route):
    await route.fulfill(status=503, body="not now")


async def silent(_route):
    """The server has the request, and nothing more is heard of it."""


@pytest.mark.parametrize("fails", [cut, unavailable, silent])
async def test_a_page_tries_again_what_did_not_renew_it(browser, address, stack, fails):
    space, deployment, (_, two) = await stack.deployed()
    page = await opened(browser, address)

    async def sooner(route):
        script = await (await route.fetch()).text()
        for name, ms in (("RENEW_MS", 1500), ("RETRY_MS", 300)):
            script, found = re.subn(rf"(const {name} =) \d+", rf"\1 {ms}", script)
            assert found == 1
        await route.fulfill(body=script, content_type="text/javascript")

    await page.route("**/console.js", sooner)
    await page.goto(f"/deployments/{deployment}")
    await expect(page.locator("#revision")).to_have_text("1")
    own = f"**/deployments/{deployment}"
    await page.route(own, fails)
    await stack.baton.replace_asset(space, deployment, two)
    # No event comes after this one: its stream has nothing more to tell.
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.locator("#revision")).to_have_text("1")
    await page.unroute(own)
    await expect(page.locator("#revision")).to_have_text("2")
    await expect(page.locator("#connection")).to_be_hidden()
    assert not [fault for fault in page.faults if "Failed to load" not in fault]


async def test_a_page_whose_script_does_not_come_says_that_it_is_not_live(browser, address):
    page = await opened(browser, address)
    told = page.locator("#connection")
    await page.route("**/console.js", cut)
    await page.goto("/spaces")
    await expect(told).to_be_visible()
    await expect(told).to_contain_text("Load the page again")
    await accessible(page)
    await page.unroute("**/console.js")
    await page.reload()
    await expect(told).to_be_hidden()
    await expect(told).to_contain_text("Trying again")


async def measured(metrics):
    text = (await get(f"{metrics}/metrics")).text
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


async def get(url):
    async with httpx.AsyncClient() as client:
        return await client.get(url)
