"""``baton up`` and the demo, as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support import DEADLINE_S, until

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
BATON = Path(sys.executable).with_name("baton")


def environment():
    return {name: text for name, text in os.environ.items() if not name.startswith("BATON_")}


def baton(folder, *arguments):
    done = subprocess.run(
        [BATON, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def service(up, module):
    return next(
        child
        for child in up.children(recursive=True)
        if child.cmdline()[-2:] == ["-m", module]
    )  # fmt: skip


def test_everything_runs_is_restarted_and_stops_in_order(tmp_path):
    process = subprocess.Popen(
        [BATON, "up", "--ready-file", "ready.json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    up = psutil.Process(process.pid)
    try:
        ready = tmp_path / "ready.json"
        until(lambda: ready.exists() or process.poll() is not None, "ready")
        address = json.loads(ready.read_text())
        servers, console = address["bootstrap_servers"], address["console"]
        assert serves(console)
        # Other commands in the folder find it by themselves.
        assert baton(tmp_path, "space", "create", "s") == (0, "space-created s\n")
        first = service(up, "worker")
        first.kill()
        until(lambda: any_new(up, first.pid), "the worker is restarted")
        assert baton(tmp_path, "space", "create", "t")[0] == 0
        java = next(c for c in up.children(recursive=True) if "java" in c.name())
        java.kill()
        java.wait(DEADLINE_S)
        assert baton(tmp_path, "--timeout", "60", "space", "create", "u")[0] == 0
        until(lambda: serves(console), "the console serves again")
        spaces = httpx.get(f"{console}/api/spaces").json()["items"]
        assert [space["space_id"] for space in spaces] == ["s", "t", "u"]
        children = up.children(recursive=True)
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, output
        assert f"baton is ready: Kafka at {servers}" in output
        assert "the worker ended (killed by SIGKILL): restarting" in output
        assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []
        assert not ready.exists()
        code, text = baton(tmp_path, "space", "list")
        assert (code, "run `baton up` in this folder" in text) == (2, True), text
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def serves(console):
    return httpx.get(f"{console}/v2/health/ready", timeout=DEADLINE_S).status_code == 200


def any_new(up, pid):
    try:
        return service(up, "worker").pid != pid
    except (StopIteration, psutil.NoSuchProcess):
        return False


def test_a_port_that_is_taken_ends_it_with_one_line(tmp_path, bootstrap_servers):
    port = bootstrap_servers.rpartition(":")[2]
    code, text = baton(tmp_path, "up", "--port", port)
    assert code == 1
    assert f"port {port} is taken" in text
    assert "Traceback" not in text


def ended(process):
    return process.poll() is not None


@pytest.mark.parametrize("module", ["worker", "scoring", "console"])
def test_one_service_alone_stops_on_sigterm(tmp_path, bootstrap_servers, module):
    ready = tmp_path / "ready"
    settings = {
        "BATON_BOOTSTRAP_SERVERS": bootstrap_servers,
        "BATON_TOPIC_PREFIX": f"{module}-alone.",
        "BATON_READY_FILE": str(ready),
        "BATON_APP": f"{module}-alone",
        "BATON_CONSOLE_PORT": "0",
    }
    old = tmp_path / "old"
    old.touch()
    ready.hardlink_to(old)
    with subprocess.Popen(
        [BATON, module],
        cwd=tmp_path,
        env=environment() | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            # The file was a predecessor's: it goes, and another comes once this one serves.
            until(lambda: old.stat().st_nlink == 1 or ended(process), "the old file is gone")
            until(lambda: ready.exists() or ended(process), "ready")
            process.terminate()
            output, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 0, output


def test_the_demo_holds_its_claims():
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "All 8 claims hold" in done.stdout
