"""A model store that is full, read-only or gone: one clear line, no half file, and it serves on."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from client import UpdateFailed
from client.cli import main
from schemas.errors import StoreError
from tests.support import new_settings
from tests.unit.models import X, Y

MODEL_BYTES = 512 * 1024
DISK = "size=2m"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="a small file system of its own is mounted for these tests: that takes root",
)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot {' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def mounted(folder, options=DISK):
    """Mount an empty file system on ``folder`` for the block; what was there comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        run("umount", "-l", str(folder))


@contextmanager
def full(folder):
    """Leave no room in ``folder`` for the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert shutil.disk_usage(folder).free == 0
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(folder):
    run("mount", "-o", "remount,ro", str(folder))
    try:
        yield
    finally:
        run("mount", "-o", f"remount,rw,{DISK}", str(folder))


FAULTS = {"full": (full, "No space left"), "read-only": (read_only, "Read-only file system")}


@pytest.fixture(params=FAULTS)
def fault(request):
    return FAULTS[request.param]


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk") as folder:
        yield folder


def model(seed):
    """A model of MODEL_BYTES whose file is another for each seed."""
    estimator = LogisticRegression().fit(X, Y)
    estimator.ballast_ = np.random.default_rng(seed).bytes(MODEL_BYTES)
    return estimator


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def saved(store, seed=0):
    return save_model(model(seed), X, store=Store([str(store)]), name=f"m{seed}")


@pytest.fixture
def saves(tmp_path, monkeypatch):
    """``baton model save`` in a folder of its own, into a given store; its exit code and output."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    joblib.dump(model(1), home / "m.joblib")
    pd.DataFrame(X[:5], columns=["x0", "x1", "x2"]).to_csv(home / "rows.csv", index=False)

    def save(store, *more):
        arguments = ["model", "save", "m.joblib", "--sample", "rows.csv", "--name", "m", *more]
        done = CliRunner(env={"BATON_STORE": str(store)}).invoke(main, arguments)
        return done.exit_code, done.output

    return save


def test_a_store_that_cannot_be_written_is_one_clear_error_and_no_half_file(disk, fault):
    broken, says = fault
    with broken(disk):
        before = files(disk)
        with pytest.raises(StoreError, match=f"cannot write to the store .*{says}"):
            saved(disk)
        assert files(disk) == before
    manifest = saved(disk)
    assert files(disk) == [f"{manifest.sha256}.joblib"]
    assert Store([str(disk)]).read(manifest.uri, manifest.sha256)


def test_a_store_with_room_for_half_a_model_keeps_no_half(disk):
    first, second = saved(disk, 0), saved(disk, 1)
    (disk / "ballast").write_bytes(b"x" * (2 * 1024**2 - 3 * MODEL_BYTES + MODEL_BYTES // 2))
    with pytest.raises(StoreError, match="No space left"):
        saved(disk, 2)
    whole = sorted(f"{manifest.sha256}.joblib" for manifest in (first, second))
    assert files(disk) == sorted([*whole, "ballast"])


def test_the_command_says_it_in_one_line_and_ends_with_1(disk, fault, saves):
    broken, says = fault
    with broken(disk):
        code, output = saves(disk)
        assert (code, len(output.strip().splitlines())) == (1, 1), output
        assert says in output
        assert not Path(".baton/models/m.json").exists()
    code, output = saves(disk)
    assert code == 0, output
    assert Path(".baton/models/m.json").exists()


def test_a_full_disk_takes_no_manifest_away(disk, tmp_path, saves):
    goal = disk / "m.json"
    assert saves(tmp_path / "store", "--output", str(goal))[0] == 0
    before = goal.read_text()
    with full(disk):
        code, output = saves(tmp_path / "store", "--output", str(goal), "--description", "new")
        assert (code, len(output.strip().splitlines())) == (1, 1), output
        assert "cannot write the manifest" in output
        assert files(disk) == ["ballast", "m.json"]
    assert goal.read_text() == before


def test_no_room_for_the_scratch_file_is_an_error_of_the_same_kind(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    (disk / "ballast").write_bytes(b"x" * (2 * 1024**2 - MODEL_BYTES // 2))
    with pytest.raises(StoreError, match=r"cannot write the model to .*No space left"):
        saved(tmp_path / "store")
    assert files(disk) == ["ballast"]
    assert files(tmp_path) == ["ballast"]


def test_a_model_in_a_read_only_store_is_read_and_need_not_be_stored_again(disk):
    manifest = saved(disk)
    with read_only(disk):
        assert Store([str(disk)]).read(manifest.uri, manifest.sha256)
        assert saved(disk) == manifest


def test_a_damaged_file_is_whole_again_once_the_model_is_saved_again(disk):
    manifest = saved(disk)
    with Path(manifest.uri).open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(StoreError, match="its manifest says"):
        Store([str(disk)]).read(manifest.uri, manifest.sha256)
    assert saved(disk) == manifest
    assert Store([str(disk)]).read(manifest.uri, manifest.sha256)


def test_a_store_that_has_vanished_says_what_is_missing(tmp_path, saves):
    store = tmp_path / "store"
    manifest = saved(store)
    shutil.rmtree(store)
    with pytest.raises(StoreError, match="there is no file"):
        Store([str(store)]).read(manifest.uri, manifest.sha256)
    store.write_text("a file where the folder was")
    with pytest.raises(StoreError, match="cannot write to the store"):
        saved(store)
    code, output = saves(store)
    assert (code, len(output.strip().splitlines())) == (1, 1), output


@pytest.fixture(scope="module")
def own(bootstrap_servers, tmp_path_factory):
    """Settings whose model store is a file system of its own."""
    settings = new_settings(bootstrap_servers, tmp_path_factory.mktemp("module"))
    with mounted(Path(settings.store[0])):
        yield settings


async def answer(stack, deployment):
    result = await stack.scoring.score(deployment, [[1.0, 2.0, 3.0]])
    return result.asset_id, result.revision


async def refused(stack, space, deployment, asset):
    """The failed check of a replace that ends as update-failed."""
    with pytest.raises(UpdateFailed) as caught:
        await stack.baton.replace_asset(space, deployment, asset)
    (check,) = [check for check in caught.value.event.data.checks if not check.passed]
    return check


@pytest.mark.broker
async def test_what_serves_goes_on_serving_whatever_happens_to_the_store(stack):
    disk = Path(stack.settings.store[0])
    space, deployment, (first,) = await stack.deployed("binary")
    await stack.baton.promote_asset(space, stack.manifest("binary", C=0.5), "second")
    assert await answer(stack, deployment) == (first, 1)

    with full(disk):
        with pytest.raises(StoreError, match="No space left"):
            saved(disk)
        assert await answer(stack, deployment) == (first, 1)
        # Reading takes no room: a replace to what is stored goes on.
        await stack.baton.replace_asset(space, deployment, "second")
        assert await answer(stack, deployment) == ("second", 2)

    with read_only(disk):
        await stack.baton.rollback_deployment(space, deployment)
        assert await answer(stack, deployment) == (first, 3)

    manifest = stack.manifest("binary", C=0.25)
    await stack.baton.promote_asset(space, manifest, "third")
    with mounted(disk):
        check = await refused(stack, space, deployment, "third")
        assert (check.name, check.expected) == ("digest", "a readable file")
        assert "there is no file" in check.actual
        assert await answer(stack, deployment) == (first, 3)

    path = Path(manifest.uri)
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    check = await refused(stack, space, deployment, "third")
    assert check.name == "digest"
    assert "Is a directory" in check.actual
    assert await answer(stack, deployment) == (first, 3)

    path.rmdir()
    aside.rename(path)
    await stack.baton.replace_asset(space, deployment, "third")
    assert await answer(stack, deployment) == ("third", 4)
