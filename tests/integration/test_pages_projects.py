"""From an experiment to a prediction by clicking: projects, leaderboard, save, promote, deploy."""

import uuid

import numpy as np
import pandas as pd
from click.testing import CliRunner
from playwright.async_api import Page, expect

from client.cli import main
from experiments import catalogue
from tests.integration.browser import NEEDS_CHROMIUM, accessible, opened
from tests.integration.test_console_pages import predicted

pytestmark = NEEDS_CHROMIUM


async def test_from_an_experiment_to_a_prediction_by_clicking(browser, address, home, monkeypatch):
    page = await opened(browser, address)
    await page.goto("/projects")
    await expect(page.get_by_text("No experiment yet")).to_be_visible()
    await accessible(page)
    train(home, monkeypatch)
    torn = home / "experiments" / "torn" / "experiment.json"
    torn.parent.mkdir()
    torn.write_text("{")
    await page.reload()
    await expect(page.get_by_text("cannot be shown")).to_have_count(1)

    await page.get_by_role("link", name="churn").click()
    await expect(page.get_by_role("row")).to_have_count(11)
    await accessible(page, "experiment")
    model = await saved(page)
    await page.get_by_role("link", name="Projects").first.click()
    await page.get_by_label("Search").fill("weekly")
    await page.get_by_role("button", name="Show").click()
    await accessible(page)
    await page.get_by_role("link", name=model).click()
    space = await promoted(page)
    await page.get_by_role("status").get_by_role("link").click()
    await expect(page).to_have_url(f"{address}/spaces/{space}#asset-first")
    await expect(page.locator("#asset-first")).to_contain_text("weekly, tried")
    await accessible(page)

    await page.get_by_label("Name", exact=True).fill("live")
    await page.get_by_role("button", name="Deploy").click()
    await page.get_by_role("link", name="live", exact=True).first.click()
    await expect(page.locator(".status")).to_have_text("deployed")
    await predicted(page, "first", 1)
    assert page.faults == []


async def saved(page: Page) -> str:
    """Save pipeline 1, after a bad name; save no other under its name. Return the name."""
    name = f"churn-{uuid.uuid4().hex[:6]}"
    await page.get_by_role("link", name="Save pipeline 1 as model").click()
    await accessible(page, "pipeline")
    await page.get_by_label("Tags").fill("weekly, tried")
    await save(page, "no/name")
    await refused(page, "'no/name' is no name for a model")
    # What was filled in before has stayed.
    await save(page, name)
    notice = page.locator("#notice")
    await expect(notice).to_contain_text("Saved as a model")
    await expect(notice.get_by_role("link")).to_have_text(name)
    await page.get_by_role("link", name="Save pipeline 2 as model").click()
    await save(page, name)
    await refused(page, f"there is a model {name} already")
    await accessible(page)
    return name


async def save(page: Page, name: str) -> None:
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_role("button", name="Save as model").click()


async def refused(page: Page, why: str) -> None:
    await expect(page.get_by_role("alert")).to_contain_text(why)
    # Chromium tells of the status 422.
    page.faults.clear()


async def promoted(page: Page) -> str:
    """Make a space, as a model's page says, and promote the model to it. Return the space."""
    space = f"shop-{uuid.uuid4().hex[:6]}"
    model = page.url
    await expect(page.get_by_text("logistic regression, pipeline 1")).to_be_visible()
    await expect(page.get_by_text("There is no space yet")).to_be_visible()
    await page.get_by_role("link", name="make the first one").click()
    await page.get_by_label("ID", exact=True).fill(space)
    await page.get_by_role("button", name="Create space").click()
    await expect(page.get_by_role("link", name=space)).to_be_visible()
    await page.goto(model)
    await promote(page, "first")
    await expect(page.locator("#notice")).to_contain_text("Promoted.")
    await accessible(page)
    promoted_at = page.url
    await promote(page, "first")
    await expect(page.locator("#notice")).to_contain_text("asset_exists")
    await page.goto(promoted_at)
    return space


async def promote(page: Page, asset: str) -> None:
    await page.get_by_label("Asset ID").fill(asset)
    await page.get_by_role("button", name="Promote to space").click()


def train(home, monkeypatch):
    """Run the experiment churn as a person does, in the folder of the console's home."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(80, 2)), columns=["age", "calls"])
    frame["city"] = rng.choice(["Rome", "Oslo"], 80)
    frame["left"] = np.where(frame["age"] + rng.normal(0, 0.3, 80) > 0, "yes", "no")
    frame.to_csv(home.parent / "train.csv", index=False)
    monkeypatch.chdir(home.parent)
    monkeypatch.setattr(catalogue, "TREES", 5)
    command = "experiment run --data train.csv --target left --folds 2 --name churn"
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 0, done.output
