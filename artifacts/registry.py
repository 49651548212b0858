"""MLflow's model registry, by its REST API: what a registered version is, and its folder."""

import math
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import fsspec

from artifacts.tracking import TrackingServer
from schemas.errors import ModelError

API = "api/2.0/mlflow"
ARTIFACTS = "api/2.0/mlflow-artifacts/artifacts"
PROXIED = "mlflow-artifacts:"
# models:/NAME/VERSION and models:/NAME@ALIAS
REGISTERED = re.compile(r"models:/+(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class Registered(NamedTuple):
    """A registered version; ``uri`` is the folder of its files, ``metrics`` are its run's."""

    name: str
    version: str
    description: str | None
    tags: tuple[str, ...]
    metrics: dict[str, float]
    uri: str


def registered(server: TrackingServer, model: str) -> Registered:
    """Look up ``model``, ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``, at ``server``.

    Raises ModelError where the server does not answer or does not know the version.
    """
    found = REGISTERED.fullmatch(model)
    if found is None:
        raise ModelError(f"{model} is neither models:/NAME/VERSION nor models:/NAME@ALIAS")
    name, version, alias = found["name"], found["version"], found["alias"]
    if version is None:
        known = server.json(f"{API}/registered-models/alias", name=name, alias=alias)
    else:
        known = server.json(f"{API}/model-versions/get", name=name, version=version)
    known = known["model_version"]
    version = str(known["version"])
    where = server.json(f"{API}/model-versions/get-download-uri", name=name, version=version)
    return Registered(
        name,
        version,
        known.get("description") or None,
        tuple(f"{tag['key']}={tag['value']}" for tag in known.get("tags", ())),
        _metrics(server, known.get("run_id")),
        str(where["artifact_uri"]),
    )


def download(server: TrackingServer, uri: str, goal: Path) -> Path:
    """Return a folder with the files at ``uri``: where they lie, or what was copied to ``goal``.

    ``mlflow-artifacts:`` comes through the tracking ``server``, or the one that it names;
    everything else by fsspec. Raises ModelError where it cannot be read.
    """
    try:
        if uri.startswith(PROXIED):
            parts = urlsplit(uri)
            holder = server.at(parts.netloc) if parts.netloc else server
            _copy(holder, parts.path.strip("/"), goal)
            return goal
        system, path = fsspec.core.url_to_fs(uri)
        if "file" in system.protocol:
            return Path(path)
        system.get(path, str(goal), recursive=True)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot read {uri}: {error}") from error
    return goal


def _copy(server: TrackingServer, folder: str, goal: Path) -> None:
    goal.mkdir(parents=True, exist_ok=True)
    listed = server.json(ARTIFACTS, path=folder)
    for entry in listed.get("files", ()):
        # A name within the folder and nothing else: a server is not asked to write elsewhere.
        name = Path(str(entry["path"])).name
        path = f"{folder}/{name}"
        if entry.get("is_dir"):
            _copy(server, path, goal / name)
        else:
            content = server.get(f"{ARTIFACTS}/{quote(path)}")
            (goal / name).write_bytes(content)


def _metrics(server: TrackingServer, run_id: str | None) -> dict[str, float]:
    if not run_id:
        return {}
    run = server.json(f"{API}/runs/get", run_id=run_id)["run"]
    found = {str(m["key"]): float(m["value"]) for m in run["data"].get("metrics", ())}
    return {name: value for name, value in found.items() if math.isfinite(value)}
