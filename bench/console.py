"""The console in a real browser: how long a page takes, and how soon a change shows in it.

``python -m bench.console``. A first page is one in a browser context that has never been here, from
the begin of the navigation to its load event; of that, the console's part is from the request to
the end of its answer. A live update is from the time in the event (the worker has decided; its
transaction is still to be committed) to the change of the page in a browser that did not ask for
it. Both while nobody scores, and while a client does. All share this machine and its clock.
"""

import argparse
import asyncio
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from playwright.async_api import Browser, async_playwright
from rich.table import Table

from bench.models import fitted
from bench.rig import console, rig, service
from bench.seed import manifest_of
from client import BatonClient, ScoringClient
from demo.traffic import Traffic
from schemas.manifest import Manifest
from transport.settings import Settings

SPACE = "bench"
RATE = 50
# Goals of p95, in milliseconds.
FIRST_PAGE_MS = 300
LIVE_UPDATE_MS = 500
PAUSE_S = 0.5
TIMEOUT_S = 30.0

# Note when each revision is first shown (ms since 1970), and wait until one has been.
WATCH = """
() => {
  window.seen = {};
  window.wanted = {};
  new MutationObserver(() => {
    const revision = document.querySelector("#revision").textContent;
    window.seen[revision] ??= Date.now();
    window.wanted[revision]?.(window.seen[revision]);
  }).observe(document.body, {childList: true, subtree: true});
}
"""
SEEN = """
revision => new Promise(done => {
  if (window.seen[revision]) done(window.seen[revision]); else window.wanted[revision] = done;
})
"""
LOADED = """
() => {
  const {loadEventStart, requestStart, responseEnd} = performance.getEntriesByType("navigation")[0];
  return [loadEventStart, responseEnd - requestStart];
}
"""
# There is none here: it would be emulated on the cores that are measured.
CHROMIUM = ["--disable-gpu"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of one thing, measured again and again; its p95 must reach ``goal``, if any."""

    title: str
    times_ms: list[float]
    goal: float = float("inf")

    @property
    def reached(self) -> bool:
        """Whether 95 of 100 are within the goal."""
        return float(np.percentile(self.times_ms, 95)) <= self.goal


def main() -> None:
    """Measure and print; exit status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=40, help="how often each is measured")
    times = parser.parse_args().times
    with (
        rig() as (settings, folder),
        service("worker", settings, folder),
        service("scoring", settings, folder),
        service("console", settings, folder, BATON_CONSOLE_PORT="0") as running,
    ):
        found = asyncio.run(measured(settings, running.ready_text("console"), times))
    show(found)
    sys.exit(not all(each.reached for each in found))


async def measured(settings: Settings, address: str, times: int) -> list[Figures]:
    """Return the figures of pages and of live updates."""
    estimator, frame = fitted("logistic")
    manifest = manifest_of(settings, estimator, frame)
    rows, fields = frame.to_numpy().tolist(), list(frame.columns)
    async with (
        BatonClient(settings, source="/bench") as client,
        ScoringClient(settings) as scoring,
        async_playwright() as playwright,
    ):
        deployment, assets = await deployed(client, manifest)
        traffic = Traffic(scoring, deployment, fields, rows, RATE, floor=1)
        # Debian's, or the one that Playwright has fetched.
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM
        )
        page = f"{address}/deployments/{deployment}"
        found: list[Figures] = []
        for when in ("nobody scores", f"{RATE} requests/s"):
            found += await first_pages(browser, f"{address}/spaces", times, f"spaces, {when}")
            found += await first_pages(browser, page, times, f"a deployment, {when}")
            updates = await live_updates(browser, page, client, (deployment, assets), times)
            found.append(Figures(f"live update, {when}", updates, LIVE_UPDATE_MS))
            if traffic.answered == 0:
                traffic.start()
                await traffic.until_answered(RATE)
        await traffic.stop()
        await browser.close()
    return found


async def deployed(client: BatonClient, manifest: Manifest) -> tuple[str, list[str]]:
    """Deploy the first of two assets of one model; return the deployment's ID and the assets'."""
    await client.create_space(SPACE)
    assets = [(await client.promote_asset(SPACE, manifest)).asset_id for _ in range(2)]
    created = await client.create_deployment(SPACE, assets[0], "bench")
    return created.deployment_id, assets


async def first_pages(browser: Browser, url: str, times: int, title: str) -> list[Figures]:
    """Return how long the page took, each time in a context without cache and cookies."""
    found: list[tuple[float, float]] = []
    for _ in range(times):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(url, wait_until="load")
        found.append(await page.evaluate(LOADED))
        await context.close()
    loaded, answered = zip(*found, strict=True)
    return [
        Figures(f"first page: {title}", list(loaded), FIRST_PAGE_MS),
        Figures("  of it the console's part", list(answered)),
    ]


async def live_updates(
    browser: Browser,
    url: str,
    client: BatonClient,
    deployed: tuple[str, list[str]],
    times: int,
) -> list[float]:
    """Return how long after each replace the page showed its revision."""
    deployment, assets = deployed
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(url, wait_until="load")
    await page.evaluate(WATCH)
    found = []
    for number in range(times):
        asset = assets[(number + 1) % len(assets)]
        outcome = await client.replace_asset(SPACE, deployment, asset)
        async with asyncio.timeout(TIMEOUT_S):
            shown_ms = await page.evaluate(SEEN, str(outcome.revision))
        happened_ms = datetime.fromisoformat(outcome.event.time).timestamp() * 1000
        found.append(float(shown_ms) - happened_ms)
        # Not in step with the page's own timers.
        await asyncio.sleep(PAUSE_S + number % 7 / 10)
    await context.close()
    return found


def show(found: list[Figures]) -> None:
    """Print the figures."""
    table = Table(title="The console in Chromium, milliseconds", title_justify="left", box=None)
    for heading in ("", "times", "p50", "p95", "max", "goal (p95)", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for each in found:
        p50, p95 = np.percentile(each.times_ms, (50, 95))
        table.add_row(
            each.title,
            str(len(each.times_ms)),
            *(f"{value:.0f}" for value in (p50, p95, max(each.times_ms))),
            *(("", "") if each.goal == float("inf") else (f"≤ {each.goal:.0f}", verdict(each))),
        )
    console.print(table)


def verdict(figures: Figures) -> str:
    """Return whether the goal is reached, in a word."""
    return "reached" if figures.reached else "missed"


if __name__ == "__main__":
    main()
