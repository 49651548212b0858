"""What the repository promises about itself."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    [shutil.which("git") or "git", "ls-files"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
).stdout.splitlines()


def test_every_locked_package_has_a_hash_and_no_index_is_named():
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(pins) == len(blocks)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        assert re.search(rf"^{name}==", lock, re.MULTILINE), name


@pytest.mark.skipif(not TRACKED, reason="not a git checkout")
def test_no_file_names_a_registry_or_a_secret():
    bad = re.compile(rb"pypi\.org/simple|index-url\s*=|BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}")
    for name in TRACKED:
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not bad.search(path.read_bytes()), name


@pytest.mark.parametrize("service", ["worker", "scoring", "console"])
def test_no_service_waits_for_scikit_learn_at_its_start(service):
    look = f"import sys, {service}.__main__; sys.exit('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_compose_runs_every_service_with_health_checks():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"kafka", "worker", "scoring", "console"}
    assert all("healthcheck" in service for service in services.values())
    assert services["kafka"]["image"] == "apache/kafka:4.2.2"
    for name in ("worker", "scoring", "console"):
        port = services[name]["environment"]["BATON_METRICS_PORT"]
        assert f":{port}/health/ready" in services[name]["healthcheck"]["test"][-1]


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command here")
def test_compose_accepts_the_file():
    docker = shutil.which("docker")
    has = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if has.returncode:
        pytest.skip("no docker compose here")
    checked = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
