"""The console's pages in a real browser, on the real broker: the lab, clicked through."""

import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright, expect

from tests.support import Process

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
WAIT_MS = 20_000
# python -m pytest tests/integration/test_console_pages.py --screenshots
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "docs" / "screenshots" if "--screenshots" in sys.argv else None
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
async def address(stack, tmp_path_factory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("console")
    process = Process("console", stack.settings, folder, BATON_CONSOLE_PORT="0")
    try:
        yield process.ready().ready_file.read_text().rstrip("/")
        assert process.stop() == 0, process.tail()
    finally:
        process.kill()


@pytest.fixture(scope="module")
async def browser():
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        await chromium.close()


async def opened(browser, address) -> Page:
    """A browser of its own, which fails the test where a page's script or style does not work."""
    context = await browser.new_context(base_url=address)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.faults.append(said.text))
    return page


async def accessible(page: Page, name: str) -> None:
    """No rule of axe is broken; with --screenshots the page is kept at two widths."""
    if SHOTS is not None:
        SHOTS.mkdir(exist_ok=True)
        for width in (1280, 400):
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=SHOTS / f"{name}-{width}.png", full_page=True)
    found = await Axe().run(page)
    told = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found.response["violations"]]
    assert told == [], page.url


async def test_the_lab_is_clicked_through(browser, address, stack):
    space = f"clinic-{uuid.uuid4().hex[:6]}"
    one, two, other = f"{space}-one", f"{space}-two", f"{space}-other"
    page, second = await opened(browser, address), await opened(browser, address)
    await page.goto("/")
    await page.get_by_label("ID", exact=True).fill(space)
    await page.get_by_role("button", name="Create space").click()
    await page.get_by_role("link", name=space).click()
    await expect(page.get_by_text("No asset yet")).to_be_visible()
    await accessible(page, "space-empty")

    # Live: what is promoted elsewhere appears by itself.
    await stack.baton.promote_asset(space, stack.manifest("binary"), one)
    await expect(page.get_by_role("cell", name=one, exact=True)).to_be_visible()
    await stack.baton.promote_asset(space, stack.manifest("binary", C=0.5), two)
    await stack.baton.promote_asset(space, stack.manifest("regression"), other)
    await page.reload()
    await page.get_by_label("Name", exact=True).fill("tumour check")
    await page.locator("select[name=asset_id]").select_option(one)
    await page.get_by_role("button", name="Deploy").click()
    await page.get_by_role("link", name="tumour check", exact=True).first.click()
    await expect(page.locator(".status")).to_have_text("deployed")
    await accessible(page, "deployment")

    await predicted(page, one, 1)
    await second.goto(page.url)

    # Refused: another kind of model. It says why, and the old one serves.
    await replace(page, other)
    await expect(page.locator("#notice")).to_contain_text("Refused")
    await expect(page.locator("#revision")).to_have_text("1")
    await accessible(page, "refused")

    # A dry run changes nothing; the replace ends with its notification, in both browsers.
    await replace(page, two, button="Check only")
    await expect(page.locator("#notice")).to_contain_text("It would be replaced")
    await accessible(page, "replace")
    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(page.locator("#notice")).to_contain_text("Deployed")
    for each in (page, second):
        await expect(each.locator("#revision")).to_have_text("2")
    await predicted(page, two, 2)
    await expect(page.locator("#answers tbody tr")).to_have_count(2)

    await page.get_by_label("Comment").fill("worse at night")
    await page.get_by_role("button", name="Roll back").click()
    await expect(page.locator("#notice")).to_contain_text("Rolled back")
    await expect(page.locator("#revision")).to_have_text("3")

    await page.get_by_role("link", name="Audit log").click()
    await expect(page.get_by_role("cell", name="deployment-rolled-back").first).to_be_visible()
    await expect(page.get_by_text("worse at night").first).to_be_visible()
    await accessible(page, "audit")
    assert page.faults == second.faults == []


async def test_what_is_not_there_is_told_on_a_page(browser, address):
    page = await opened(browser, address)
    answer = await page.goto("/deployments/nothing")
    assert answer.status == 404
    await expect(page.get_by_role("alert")).to_contain_text("there is no deployment nothing")
    await accessible(page, "not-found")


async def test_a_form_from_elsewhere_changes_nothing(browser, address):
    page = await opened(browser, address)
    await page.goto("/spaces")
    await page.locator("input[name=csrf]").evaluate("field => { field.value = 'forged'; }")
    await page.get_by_label("ID", exact=True).fill("forged")
    await page.get_by_role("button", name="Create space").click()
    await expect(page.get_by_role("alert")).to_contain_text("the page has expired")
    await page.goto("/spaces")
    await expect(page.get_by_role("link", name="forged")).to_have_count(0)


async def predicted(page: Page, asset: str, revision: int) -> None:
    """Fill in a sample row, send it, and find who answered."""
    await page.get_by_role("button", name="Sample 1").click()
    await page.get_by_role("button", name="Predict").click()
    newest = page.locator("#answers tbody tr").first
    await expect(newest).to_contain_text(asset)
    await expect(newest.locator("td").nth(3)).to_have_text(str(revision))


async def replace(page: Page, asset: str, button: str = "Replace") -> None:
    await page.get_by_role("link", name="Replace asset").click()
    await page.get_by_label("Candidate").select_option(asset)
    await page.get_by_role("button", name="Compare").click()
    await page.get_by_label("Reason").select_option("accuracy")
    await page.get_by_role("button", name=button, exact=True).click()
