"""The console's pages in a real browser, on the real broker: the lab, clicked through."""

import uuid

from playwright.async_api import Page, expect

from tests.integration.browser import NEEDS_CHROMIUM, accessible, opened

pytestmark = NEEDS_CHROMIUM


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


async def test_a_space_is_sorted_as_was_asked_and_says_so(browser, address, stack):
    space, _, (asset, _) = await stack.deployed()
    await stack.baton.create_deployment(space, asset, "a second one")
    page = await opened(browser, address)
    await page.goto(f"/spaces/{space}")
    await page.get_by_label("Sort by").select_option("name")
    await page.get_by_role("button", name="Show").click()
    names = page.locator("[data-live=deployments] tbody td:first-child")
    await expect(names).to_have_text(["a second one", "d"])
    await expect(page.get_by_label("Sort by")).to_have_value("name")
    await page.get_by_label("Search").fill("second")
    await page.get_by_role("button", name="Show").click()
    await expect(names).to_have_text(["a second one"])
    await expect(page.get_by_label("Sort by")).to_have_value("name")


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
    await page.get_by_role("link", name=f"Compare {asset}").click()
    await page.get_by_label("Reason").select_option("accuracy")
    await page.get_by_role("button", name=button, exact=True).click()
