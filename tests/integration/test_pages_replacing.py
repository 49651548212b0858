"""Pages of a replace, and of what goes wrong: failures, lost connections, ended sessions."""

import uuid
from pathlib import Path

from aiokafka import AIOKafkaProducer
from playwright.async_api import Page, expect
from sklearn.linear_model import LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from client.audit import events
from tests.integration.browser import NEEDS_CHROMIUM, accessible, opened
from tests.support import Process, eventually, read_all, until_there
from tests.unit.models import X, Y

pytestmark = NEEDS_CHROMIUM

RAISES = "raise ValueError('no model')"


async def test_candidates_are_marked_checked_and_compared(browser, address, stack):
    space, deployment, _ = await stack.deployed("binary")
    opposite = save_model(
        LogisticRegression().fit(X, 1 - Y), X, store=Store(stack.settings.store), name="opposite"
    )
    two, other, foreign, broken = (
        await promoted(stack, space, opposite),
        await promoted(stack, space, stack.manifest("many")),
        await promoted(stack, space, stack.manifest("mixed")),
        await promoted(stack, space, stack.running(RAISES)),
    )
    page, second = await opened(browser, address), await opened(browser, address)
    for each in (page, second):
        await each.goto(f"/deployments/{deployment}/replace")
    # Without a click.
    for asset, mark in (
        (two, "compatible"),
        (broken, "compatible"),
        (other, "only if you allow another output"),
        (foreign, "not compatible"),
    ):
        await expect(row(page, asset).locator("td").first).to_contain_text(mark)
    await row(page, foreign).locator("summary").click()
    await expect(row(page, foreign)).to_contain_text("city: expected absent, got string")
    await promoted(stack, space, stack.manifest("regression"))
    await expect(row(page, "regression")).to_contain_text("only if you allow another output")
    # Read on, whatever happens meanwhile.
    await expect(row(page, foreign).locator(".faults")).to_be_visible()
    await expect(row(page, foreign).get_by_role("button", name="Check")).to_have_count(0)
    await accessible(page, "candidates")

    await page.get_by_role("button", name="Check 4 at once").click()
    for each in (page, second):
        for asset in (two, other):
            await expect(checked(each, asset)).to_contain_text("passed")
        await expect(checked(each, broken)).to_contain_text("failed")
        await expect(checked(each, broken)).to_contain_text("no model")
    await row(page, broken).get_by_role("button", name="Check").click()
    await expect(page.locator("#notice")).to_contain_text("It would be refused")

    await row(page, two).get_by_role("link", name="Compare").click()
    await expect(page.get_by_text("It reads the same input fields")).to_be_visible()
    await page.get_by_role("button", name="Compare predictions").click()
    await expect(page.locator("#predictions tbody tr")).to_have_count(5)
    await expect(page.locator("#predictions caption")).to_contain_text("5 of 5 differ")
    await accessible(page, "predictions")
    # What others do renews this page, too.
    late = await promoted(stack, space, stack.manifest("binary"))
    await expect(row(page, late)).to_contain_text("compatible")
    await expect(page.locator("#predictions tbody tr")).to_have_count(5)

    await row(page, broken).get_by_role("link", name="Compare").click()
    await page.get_by_role("button", name="Compare predictions").click()
    await expect(page.get_by_role("alert")).to_contain_text(f"{broken} cannot be loaded: Value")
    assert page.faults == second.faults == []


async def test_a_replace_that_fails_while_everything_else_does_too(
    browser, address, stack, tmp_path
):
    space, deployment, (one,) = await stack.deployed("binary")
    bad = await promoted(stack, space, stack.running(waits(tmp_path)))
    page, second = await opened(browser, address), await opened(browser, address)
    await second.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await second.goto(f"/deployments/{deployment}")
    await second.get_by_role("button", name="Copy ID").click()
    await expect(second.get_by_role("button", name="Copied")).to_be_visible()
    assert await second.evaluate("navigator.clipboard.readText()") == deployment

    await page.goto(f"/deployments/{deployment}/replace?asset_id={bad}")
    await page.get_by_label("Comment").fill("a hunch")
    await page.get_by_role("button", name="Replace", exact=True).click()
    for each in (page, second):
        await expect(each.locator(".status")).to_have_text("updating")
    await expect(page.locator("#notice")).to_contain_text("Updating")
    await expect(page.locator("#notice .steps")).to_contain_text("being tried")
    await page.reload()
    await expect(page.locator("#notice")).to_contain_text("Updating")
    await second.get_by_role("button", name="Sample 1").click()
    await second.get_by_role("button", name="Predict").click()
    await expect(second.locator("#answers tbody tr").first).to_contain_text(one)
    await page.context.set_offline(True)
    await expect(page.locator("#connection")).to_be_visible()
    await accessible(second, "updating")
    await expect(second.locator(".status")).to_have_text("updating")

    (tmp_path / "go").touch()
    # It fails: the one browser is told at once, the other once it is there again.
    await expect(second.locator(".timeline")).to_contain_text("update-failed")
    await expect(page.locator("#notice")).to_contain_text("Updating")
    await page.context.set_offline(False)
    await expect(page.locator("#notice")).to_contain_text("Failed: load")
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#notice")).to_contain_text("What served before still serves")
    await expect(page.locator("#notice .bad")).to_have_text("failed")
    await expect(page.locator("#notice tr", has_text="no model")).to_contain_text("load")
    await accessible(page, "failed")
    for each in (page, second):
        await expect(each.locator(".status")).to_have_text("deployed")
        await expect(each.locator("#revision")).to_have_text("1")

    await second.get_by_text("As JSON").click()
    for body, told in (
        ('{"input_data": [{"values": [[1, 0, 0]]}]}', one),
        ("{", "error: "),
        ('{"input_data": [{"fields": ["x0"], "values": [[1]]}]}', "schema_mismatch"),
    ):
        await second.get_by_label("Request body").fill(body)
        await second.get_by_role("button", name="Send the JSON").click()
        await expect(second.locator("#answers tbody tr").first).to_contain_text(told)
    # What the browser itself says of the refused requests, and while it was offline.
    assert not [fault for fault in page.faults + second.faults if "Failed to load" not in fault]


async def test_a_console_that_dies_and_one_whose_token_has_changed(browser, stack, tmp_path, start):
    space, deployment, _ = await stack.deployed("binary")
    bad = await promoted(stack, space, stack.running(waits(tmp_path)))

    def begun(token: str, port: str = "0") -> Process:
        env = {"BATON_CONSOLE_TOKEN": token, "BATON_CONSOLE_PORT": port}
        return start("console", stack.settings, **env).ready()

    console = begun("first")
    home = console.ready_file.read_text().rstrip("/")
    port = home.rpartition(":")[2]

    page = await opened(browser, home)
    await page.goto(f"/deployments/{deployment}/replace?asset_id={bad}")
    await accessible(page, "login")
    await page.get_by_label("The console's token").fill("second")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("This is not the token")
    assert not [fault for fault in page.faults if "401" not in fault]
    await signed_in(page, "first")

    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(page.locator(".status")).to_have_text("updating")
    # Its script has come: what has not could not go on without the console.
    await expect(page.locator("#connection")).to_contain_text("Trying again")
    console.kill()
    await expect(page.locator("#connection")).to_be_visible()
    console = begun("first", port)
    (tmp_path / "go").touch()
    await expect(page.locator("#notice")).to_contain_text("Failed")
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#notice tr", has_text="no model")).to_contain_text("failed")

    # The session ends with its token: nothing is done, and the way on is told.
    await page.goto(f"/deployments/{deployment}/replace?asset_id={bad}")
    before = await count(stack, deployment)
    console.kill()
    begun("second", port)
    await expect(page.locator("#connection")).to_contain_text("Your session has ended")
    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("was not done")
    await accessible(page, "session-ended")
    await signed_in(page, "second")
    await expect(page).to_have_url(f"{home}/deployments/{deployment}/replace?asset_id={bad}")
    # A form from before, in a browser that has signed in since: the same.
    await page.locator("input[name=csrf]").last.evaluate("field => { field.value = 'old'; }")
    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("the page has expired")
    await page.get_by_role("link", name="Back to the page before").click()
    await expect(page.get_by_role("heading", name="Replace the asset of d")).to_be_visible()
    assert await count(stack, deployment) == before


async def test_a_dead_letter_is_read_and_sent_again(browser, address, stack):
    page = await opened(browser, address)
    await page.goto("/dead-letters")
    await expect(page.get_by_text("None: every command and request")).to_be_visible()
    await accessible(page, "dead-letters-none")

    settings = stack.settings
    text = b"<script>document.title = 'run'</script>" + b"x" * 5000
    binary = b"<b>\x00\xff" + uuid.uuid4().bytes
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for value, headers in ((text, []), (binary, [("mood", b"<i>\xff")])):
            await producer.send_and_wait(
                settings.topics.requests.name, value, partition=1, headers=headers
            )
    await letters(stack, 2)
    await page.reload()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.locator("tbody tr").first).to_contain_text(str(len(binary)))
    await accessible(page, "dead-letters")
    await page.get_by_label("From").select_option(settings.topics.commands.name)
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("No dead letter matches")).to_be_visible()
    await page.goto("/dead-letters?reason=JSON")
    await page.locator("tbody tr").last.get_by_role("link").click()
    await expect(page.locator("pre").first).to_contain_text("<script>document.title")
    await expect(page.locator("#hexdump")).to_contain_text("00000ff0  78 78")
    await expect(page.locator("#hexdump")).not_to_contain_text("00001000")
    await expect(page.get_by_text("the first 4096 of them")).to_be_visible()
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="All of them as a file").click()
    kept = await (await coming.value).path()
    assert kept.read_bytes() == text
    assert "Dead letter" in await page.title()

    await page.goto("/dead-letters")
    await page.locator("tbody tr").first.get_by_role("link").click()
    await expect(page.locator("#hexdump")).to_contain_text("3c 62 3e 00 ff")
    await expect(page.get_by_role("row", name="mood")).to_contain_text("3c 69 3e ff")
    await accessible(page, "dead-letter")
    await page.get_by_role("button", name="Send it again").click()
    await expect(page.get_by_text("Published again")).to_be_visible()
    third = (await letters(stack, 3))[-1]
    assert (third.value, third.headers[0]) == (binary, ("mood", b"<i>\xff"))
    answer = await page.goto("/dead-letters/99999999")
    assert answer.status == 404
    await expect(page.get_by_role("alert")).to_contain_text("there is no dead letter 99999999")


def row(page: Page, asset: str):
    return page.get_by_role("region", name="Candidates").locator("tbody tr", has_text=asset)


def checked(page: Page, asset: str):
    return row(page, asset).locator("td").nth(1)


def waits(folder: Path) -> str:
    """Code that waits until there is a file "go", and then fails."""
    return f"{until_there(folder / 'go')}\n{RAISES}"


async def promoted(stack, space: str, manifest) -> str:
    asset = f"{manifest.name}-{uuid.uuid4().hex[:6]}"
    await stack.baton.promote_asset(space, manifest, asset)
    return asset


async def signed_in(page: Page, token: str) -> None:
    await page.get_by_label("The console's token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Replace the asset of d")).to_be_visible()


async def count(stack, deployment: str) -> int:
    """How many events there are of the deployment."""
    found = events(stack.settings)
    return len([event async for event in found if event.data.deployment_id == deployment])


async def letters(stack, wanted: int) -> list:
    """The dead letters, once there are as many as wanted."""
    found = []

    async def there():
        found[:] = await read_all(stack.settings, stack.settings.topics.dead_letters)
        return len(found) >= wanted

    await eventually(there, f"{wanted} dead letters")
    return found
