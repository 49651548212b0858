"""Pages of the console in Debian's Chromium: opened, and held to axe's rules."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Browser, Page, expect

from tests.support import DEADLINE_S

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = [
    pytest.mark.broker,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
WAIT_MS = 1000 * DEADLINE_S
# python -m pytest tests/integration -k pages --screenshots
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "docs" / "screenshots" if "--screenshots" in sys.argv else None
expect.set_options(timeout=WAIT_MS)


async def opened(browser: Browser, address: str) -> Page:
    """A browser of its own; ``page.faults`` has what a page's script or style did wrong."""
    context = await browser.new_context(base_url=address)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.faults.append(said.text))
    return page


async def accessible(page: Page, name: str = "") -> None:
    """No rule of axe is broken; with --screenshots a page with a name is kept at two widths."""
    if SHOTS is not None and name:
        SHOTS.mkdir(exist_ok=True)
        for width in (1280, 400):
            await page.set_viewport_size({"width": width, "height": 900})
            picture = await page.screenshot(full_page=True)
            # Flat colours: half of the bytes, and nothing to see of it.
            seen = Image.open(io.BytesIO(picture)).convert("RGB")
            small = seen.quantize(128, Image.Quantize.MAXCOVERAGE)
            small.save(SHOTS / f"{name}-{width}.png", optimize=True)
    found = await Axe().run(page)
    told = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found.response["violations"]]
    assert told == [], page.url
