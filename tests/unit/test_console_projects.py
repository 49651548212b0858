"""Pages of experiments and saved models, without a broker: what they show, and what they refuse."""

import asyncio
import json
import os
import re
import shutil
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI

from artifacts.library import NameTakenError, read_manifest, write_manifest
from artifacts.store import Store
from client.cli import model
from client.errors import CommandRejected
from console import pages, projects, saving
from console.problems import install
from console.saving import Order, SavingError
from console.security import Keys
from console.settings import ConsoleSettings
from experiments import Plan, catalogue, plots, run
from experiments.experiment import DOCUMENT, Experiment
from schemas.records import AssetRecord, SpaceRecord
from transport.settings import Settings

EVIL = "<b>y</b>"
NAME = "trees"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as `baton experiment run` leaves it; one of its pipelines has failed."""
    home = tmp_path_factory.mktemp("made") / ".baton"
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 2))
    frame = pd.DataFrame(x, columns=["a", EVIL])
    # The second class: the one that the ROC curve is labelled with.
    frame["y"] = np.where(x[:, 0] > 0, EVIL, "-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "TREES", 3)
        run(frame, Plan(NAME, "y", folds=2, data="train.csv"), home / "experiments")
    path = home / "experiments" / NAME / DOCUMENT
    document = json.loads(path.read_text())
    failed = document["pipelines"][4]
    ranks = [p for p in document["pipelines"] if p["rank"] > failed["rank"]]
    for pipeline in ranks:
        pipeline["rank"] -= 1
    document["pipelines"][4] = {
        "number": 5,
        "algorithm": failed["algorithm"],
        "error": f"ValueError: {EVIL}",
    }
    path.write_text(json.dumps(document))
    return home


@pytest.fixture
def home(made, tmp_path):
    return shutil.copytree(made, tmp_path / ".baton")


class Commands:
    """Takes commands, and refuses those it is told to."""

    sent = ()
    refuses = None

    async def submit(self, name, data, **_):
        self.sent = (*self.sent, (name, data))
        if self.refuses:
            raise self.refuses
        return "c1", None

    async def progress(self, _):
        return None


class State:
    """The state table, of what a test puts into it."""

    def __init__(self):
        self.spaces_held, self.assets_held = [], []

    async def current(self):
        return self

    def spaces(self):
        return self.spaces_held

    def assets(self):
        return self.assets_held


@pytest.fixture
async def browser(home, tmp_path):
    """A client of the pages that sends their forms back, with their token."""
    app = FastAPI()
    install(app)
    app.include_router(pages.router)
    settings = ConsoleSettings(Settings("127.0.0.1:1"), home=home)
    app.state.services = SimpleNamespace(
        settings=settings,
        keys=Keys(None),
        state=State(),
        feed=SimpleNamespace(cursor="0.0"),
        commands=Commands(),
        store=Store([str(tmp_path / "store")]),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        client.services = app.state.services
        yield client


async def send(browser, page, to, **form):
    token = re.search(r'name="csrf" value="([^"]+)"', (await browser.get(page)).text)[1]
    return await browser.post(to, data={"csrf": token, **form})


PIPELINE = f"/projects/experiments/{NAME}/1"


def test_it_looks_where_the_command_keeps_them_unless_told_otherwise():
    kafka = {"BATON_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    found = ConsoleSettings.from_env(kafka).home
    assert projects.experiments_folder(found) == model.EXPERIMENTS
    assert projects.models_folder(found) == model.MODELS
    told = ConsoleSettings.from_env(kafka | {"BATON_CONSOLE_HOME": "/lab"})
    assert str(projects.models_folder(told.home)) == "/lab/models"


# Lists


async def test_an_empty_folder_teaches_how_to_begin(browser, home):
    shutil.rmtree(home)
    text = (await browser.get("/projects")).text
    assert "baton experiment run --data train.csv --target y" in text
    assert "baton model save --experiment" in text


async def test_experiments_are_listed_searched_and_sorted(browser, home):
    root = home / "experiments"
    shutil.copytree(root / NAME, root / "zebra")
    document = json.loads((root / "zebra" / DOCUMENT).read_text())
    document |= {"name": "zebra", "data": "stripes.csv", "created_at": "2099-01-01T00:00:00Z"}
    (root / "zebra" / DOCUMENT).write_text(json.dumps(document))

    async def shown(**query):
        text = (await browser.get("/projects", params=query)).text
        return re.findall(r'<a href="/projects/experiments/(\w+)">', text)

    assert await shown() == ["zebra", NAME]
    assert await shown(sort="name") == [NAME, "zebra"]
    assert await shown(q="STRIPES") == ["zebra"]
    assert await shown(sort="__class__") == ["zebra", NAME]
    text = (await browser.get("/projects", params={"q": EVIL})).text
    assert "No experiment has “&lt;b&gt;y&lt;/b&gt;” in its name" in text
    (row,) = [row for row in projects.experiment_rows(home) if row.name == NAME]
    assert (row.rows, row.pipelines, row.metric, row.task) == (60, 9, "roc_auc", "classification")


async def test_what_is_broken_is_told_and_hides_no_other(browser, home):
    await saved(home)
    root, models = home / "experiments", home / "models"
    for name, content in (
        ("cut", (root / NAME / DOCUMENT).read_text()[:-100]),
        ("older", '{"name": "older"}'),
        ("copied", (root / NAME / DOCUMENT).read_text()),
        ("empty", json.dumps(json.loads((root / NAME / DOCUMENT).read_text()) | {"pipelines": []})),
    ):
        (root / name).mkdir()
        (root / name / DOCUMENT).write_text(content)
    (models / "cut.json").write_text('{"name"')
    (models / "bytes.json").write_bytes(b"\xff\xfe")
    (models / "folder.json").mkdir()
    os.close(os.open(os.fsencode(models) + b"/\xff.json", os.O_CREAT))
    answer = await browser.get("/projects")
    assert answer.status_code == 200
    assert answer.text.count("cannot be shown") == 8
    assert f'href="/projects/experiments/{NAME}"' in answer.text
    assert 'href="/projects/models/best"' in answer.text
    assert "holds experiment trees: name the folder so" in answer.text
    assert "no pipeline was trained" in answer.text
    for path, why in (
        ("/projects/experiments/cut", "is no experiment"),
        ("/projects/experiments/copied", "name the folder so"),
        ("/projects/models/cut", "is no manifest"),
    ):
        answer = await browser.get(path)
        assert (answer.status_code, why in answer.text) == (422, True), path


async def test_one_that_is_too_large_to_be_parsed_in_between_is_not(browser, monkeypatch):
    monkeypatch.setattr(projects, "LARGEST_BYTES", 100)
    assert "bytes, and a page shows at most 100" in (await browser.get("/projects")).text
    answer = await browser.get(f"/projects/experiments/{NAME}")
    assert (answer.status_code, "use the baton command" in answer.text) == (422, True)


async def test_a_list_is_not_parsed_again_and_what_changes_is(home, monkeypatch):
    projects.experiment_rows(home)
    with monkeypatch.context() as patch:
        patch.setattr(projects.experiments, "load", None)
        (row,) = projects.experiment_rows(home)
        assert not row.fault
    path = home / "experiments" / NAME / DOCUMENT
    path.write_text(path.read_text().replace("train.csv", "other.csv"))
    assert projects.experiment_rows(home)[0].data == "other.csv"


@pytest.mark.parametrize(
    "name",
    ["%2e%2e", "..%2f..%2fsecret", "%2fetc", "secret", "trees%00", ".hidden", "%ff", "tre*s"],
)
async def test_no_name_in_an_address_leaves_the_folder(browser, home, name):
    (home / "secret").mkdir()
    shutil.copy(home / "experiments" / NAME / DOCUMENT, home / "secret")
    (home / "secret.json").write_text("{}")
    for hidden in (home / "experiments" / ".hidden", home / "models"):
        hidden.mkdir()
    for path in (f"experiments/{name}", f"models/{name}", f"experiments/{name}/1"):
        answer = await browser.get(httpx.URL(f"http://127.0.0.1/projects/{path}"))
        assert answer.status_code == 404, path


# An experiment


async def test_the_leaderboard_has_ranks_bars_plots_and_failures(browser, home):
    text = (await browser.get(f"/projects/experiments/{NAME}")).text
    found = projects.find_experiment(home, NAME)
    ranked = re.findall(rf'href="/projects/experiments/{NAME}/(\d+)#save"', text)
    assert ranked == [str(p.number) for p in found.leaderboard() if p.rank]
    assert len(ranked) == 9
    assert text.count('class="bar"') == 9 * 5
    assert text.count('<svg class="plot"') == 6
    assert "failed: ValueError: &lt;b&gt;y&lt;/b&gt;" in text
    assert "roc_auc" in text
    assert "less is better" in text


async def test_what_a_table_said_is_shown_and_no_markup(browser):
    for path in (f"/projects/experiments/{NAME}", PIPELINE, f"/projects/experiments/{NAME}/5"):
        text = (await browser.get(path)).text
        assert EVIL not in text
        # The policy of the console's pages forbids them.
        assert " style=" not in text
        assert "<style" not in text
        assert "<script>" not in text


async def test_a_pipeline_shows_its_errors_and_one_that_failed_cannot_be_saved(browser):
    text = (await browser.get(PIPELINE)).text
    assert "Confusion matrix" in text
    assert "ROC curve of pipeline 1" in text
    assert 'value="trees-1"' in text
    assert 'value="logistic regression, pipeline 1 of experiment trees"' in text
    failed = (await browser.get(f"/projects/experiments/{NAME}/5")).text
    assert "It could not be trained" in failed
    assert "<form" not in failed
    assert (await browser.get(f"/projects/experiments/{NAME}/11")).status_code == 404


def test_bars_are_shares_of_the_largest_and_nothing_is_below_zero(home):
    found = projects.find_experiment(home, NAME)
    for metric in found.pipelines[0].metrics:
        bars = plots.bars(found, metric)
        assert max(bar.right for bar in bars.values()) == 100
        assert all(0 <= b.left <= b.mean <= b.right <= 100 for b in bars.values())
    worse = json.loads(found.model_dump_json())
    for pipeline in worse["pipelines"]:
        for spread in pipeline["metrics"].values():
            spread["mean"] = -5.0
    bars = plots.bars(Experiment.model_validate(worse), "accuracy")
    assert {bar.mean for bar in bars.values()} == {0}


# Save as model


def order(home, **more):
    given = {"experiment": NAME, "pipeline": 1, "stores": (str(home / "store"),), "name": "best"}
    return Order(home=home, **(given | more))


async def saved(home, **more):
    await asyncio.to_thread(saving.carry_out, order(home, **more))


async def test_a_pipeline_is_saved_as_the_command_does_it(browser, home):
    form = {"name": "best-1", "description": "", "tags": "a, b,, a", "project_id": "churn"}
    answer = await send(browser, PIPELINE, PIPELINE, **form)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/projects/experiments/{NAME}?saved=best-1",
    )
    manifest = read_manifest(home / "models" / "best-1.json", home)
    assert manifest.description == "logistic regression, pipeline 1 of experiment trees"
    assert (manifest.tags, manifest.project_id) == (("a", "b"), "churn")
    assert manifest.metrics.keys() == {"roc_auc", *manifest.metrics}
    assert manifest.uri.startswith(str(browser.services.store.roots[0]))
    told = (await browser.get(answer.headers["location"])).text
    assert '<a href="/projects/models/best-1">best-1</a>' in told
    assert "Saved" not in (await browser.get(f"/projects/experiments/{NAME}?saved=made-up")).text


@pytest.mark.parametrize(
    ("name", "project", "why"),
    [
        ("best", "", "there is a model best already"),
        ("../best", "", "is no name for a model"),
        ("", "", "is no name for a model"),
        ("a" * 129, "", "is no name for a model"),
        ("fine", "my project", "is no name for a project"),
    ],
)
async def test_a_name_that_cannot_be_is_told_with_the_form(
    browser, home, monkeypatch, name, project, why
):
    await saved(home)
    monkeypatch.setattr(saving.asyncio, "create_subprocess_exec", None)
    form = {"name": name, "description": EVIL, "tags": "mine", "project_id": project}
    answer = await send(browser, PIPELINE, PIPELINE, **form)
    assert (answer.status_code, why in answer.text) == (422, True)
    assert 'value="mine"' in answer.text
    assert EVIL not in answer.text
    assert len(list((home / "models").iterdir())) == 1


async def test_a_form_from_elsewhere_saves_nothing(browser, home):
    answer = await browser.post(PIPELINE, data={"csrf": "forged", "name": "best"})
    assert answer.status_code == 403
    assert not (home / "models").exists()


async def test_a_file_that_is_not_the_experiment_s_is_not_loaded(home):
    path = home / "experiments" / NAME / "pipelines" / "1.joblib"
    path.write_bytes(b"another")
    with pytest.raises(SavingError, match="not the file that the experiment wrote"):
        await saving.save(order(home), os.environ)


async def test_a_process_that_dies_or_hangs_is_an_error_of_the_save_alone(home, monkeypatch):
    monkeypatch.setattr(saving.sys, "executable", "/bin/false")
    with pytest.raises(SavingError, match="has died"):
        await saving.save(order(home), os.environ)
    hanging = home / "hang"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(saving.sys, "executable", str(hanging))
    monkeypatch.setattr(saving, "TIME_LIMIT_S", 0.1)
    with pytest.raises(SavingError, match=r"not saved within|store is slow"):
        await saving.save(order(home), os.environ)


async def test_of_two_who_save_under_one_name_one_is_told(home):
    await saved(home)
    with pytest.raises(NameTakenError):
        await saved(home, pipeline=2)
    manifest = read_manifest(home / "models" / "best.json", home)
    assert "pipeline 1" in manifest.description
    assert [path.name for path in (home / "models").iterdir()] == ["best.json"]
    with pytest.raises(NameTakenError):
        write_manifest(home / "models" / "best.json", manifest, new=True)


# A saved model


async def test_a_model_s_page_says_what_is_known_and_how_to_make_a_space(browser, home):
    await saved(home, tags=("nightly",), project_id="churn")
    text = (await browser.get("/projects/models/best")).text
    manifest = read_manifest(home / "models" / "best.json", home)
    for fact in (manifest.sha256, manifest.uri, "nightly", "scikit-learn", "logistic regression"):
        assert fact in text
    assert "&lt;b&gt;y&lt;/b&gt;" in text
    assert EVIL not in text
    assert "There is no space yet" in text
    assert "Promote to space</button>" not in text
    listed = (await browser.get("/projects", params={"q": "churn"})).text
    assert 'href="/projects/models/best"' in listed
    assert "No model has" in (await browser.get("/projects", params={"q": "nothing"})).text


async def test_a_model_of_thousands_of_fields_has_a_page_of_some(browser, home):
    await saved(home)
    path = home / "models" / "best.json"
    document = json.loads(path.read_text())
    names = [f"field {i}" for i in range(2000)]
    document["input_schema"]["fields"] = [{"name": name, "type": "double"} for name in names]
    document["sample"] = {"fields": names, "values": [[0.5] * 2000]}
    path.write_text(json.dumps(document))
    text = (await browser.get("/projects/models/best")).text
    assert "And 1900 more" in text
    assert text.count("field 99<") == 2
    assert "field 100<" not in text


async def test_a_model_is_promoted_by_a_command(browser, home):
    await saved(home)
    state = browser.services.state
    state.spaces_held = [
        SpaceRecord(space_id="fraud", name="Fraud", created_at="t", command_id="c")
    ]
    page = "/projects/models/best"
    answer = await send(browser, page, f"{page}/promote", space_id="fraud", asset_id="")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}?command=c1")
    ((name, data),) = browser.services.commands.sent
    manifest = read_manifest(home / "models" / "best.json", home)
    assert (name, data["space_id"], data["asset_id"]) == ("promote-asset", "fraud", None)
    assert data["manifest"] == manifest.model_dump(mode="json", exclude_none=True)
    state.assets_held = [
        AssetRecord(
            space_id="fraud", asset_id="a-1", manifest=manifest, created_at="t", command_id="c"
        ),
    ]
    assert 'href="/spaces/fraud#asset-a-1"' in (await browser.get(page)).text


async def test_a_command_that_is_refused_is_told_where_it_was_given(browser, home):
    await saved(home)
    browser.services.state.spaces_held = [
        SpaceRecord(space_id="s", name="s", created_at="t", command_id="c")
    ]
    event = SimpleNamespace(
        command_id="c9", data=SimpleNamespace(message="no", code="asset_exists", checks=())
    )
    browser.services.commands.refuses = CommandRejected(event)
    page = "/projects/models/best"
    answer = await send(browser, page, f"{page}/promote", space_id="s", asset_id="taken")
    assert answer.headers["location"] == f"{page}?command=c9"
