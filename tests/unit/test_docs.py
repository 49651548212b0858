"""The documents name what there is."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from schemas import variables
from schemas.checks import VERIFICATION_CHECKS, Code
from schemas.commands import COMMANDS, Reason
from schemas.events import EventName
from schemas.scoring import ScoringCode

ROOT = Path(__file__).parents[2]
MESSAGES = (ROOT / "docs" / "messages.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "name",
    [*COMMANDS, *EventName, *Code, *ScoringCode, *Reason, *VERIFICATION_CHECKS],
)
def test_every_name_on_the_wire_is_documented(name):
    assert re.search(rf"\b{name}\b", MESSAGES)


@pytest.mark.parametrize("model", COMMANDS.values(), ids=COMMANDS)
def test_every_field_of_a_command_is_documented(model):
    name = next(name for name, found in COMMANDS.items() if found is model)
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", MESSAGES, re.MULTILINE)
    documented = {field: bool(mark) for field, mark in re.findall(r"`(\w+)`(\?)?", row)}
    expected = {field: not info.is_required() for field, info in model.model_fields.items()}
    assert documented == expected


def test_the_page_of_settings_is_the_tables():
    assert (ROOT / variables.PAGE).read_text() == variables.page(), (
        "docs/settings.md is stale: python -m schemas.variables"
    )


def test_every_setting_is_in_the_table():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    code = [
        path.read_text()
        for folder in project["setuptools"]["packages"]["find"]["include"]
        for path in (ROOT / folder.rstrip("*")).rglob("*.py")
    ]
    names = set(re.findall(r"\"(BATON_[A-Z_]+[A-Z])\"", "\n".join(code)))
    assert names == {variable.name for variable in variables.VARIABLES}


def test_a_setting_that_is_none_is_told_with_the_nearest_one():
    given = {"BATON_METRIC_PORT": "9464", "BATON_BOOTSTRAP_SERVERS": "h:1", "HOME": "/"}
    (warning,) = variables.unknown(given)
    assert warning == ("BATON_METRIC_PORT is no setting of Baton: did you mean BATON_METRICS_PORT?")
    (warning,) = variables.unknown({"BATON_XYZ": ""})
    assert "docs/settings.md" in warning


def test_links_lead_somewhere():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "tutorial.html").read_text()
    assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>", page)


RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\btest_\w+", RELIABILITY))))
def test_every_test_that_is_named_exists(name):
    assert f"def {name}(" in TESTS or list((ROOT / "tests").rglob(f"{name}.py"))
