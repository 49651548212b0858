"""MLflow's model registry, by its REST API: what a registered version is, and its folder."""

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import urlopen

import fsspec

from artifacts.save import ModelError

TIMEOUT_S = 30.0
API = "api/2.0/mlflow"
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


def registered(server: str, model: str) -> Registered:
    """Look up ``model``, ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``, at ``server``.

    ``server`` is the address of an MLflow tracking server, http(s). Raises ModelError where it
    does not answer or does not know the version.
    """
    found = REGISTERED.fullmatch(model)
    if found is None:
        raise ModelError(f"{model} is neither models:/NAME/VERSION nor models:/NAME@ALIAS")
    name, version, alias = found["name"], found["version"], found["alias"]
    if version is None:
        known = _json(server, f"{API}/registered-models/alias", name=name, alias=alias)
    else:
        known = _json(server, f"{API}/model-versions/get", name=name, version=version)
    known = known["model_version"]
    version = str(known["version"])
    where = _json(server, f"{API}/model-versions/get-download-uri", name=name, version=version)
    return Registered(
        name,
        version,
        known.get("description") or None,
        tuple(f"{tag['key']}={tag['value']}" for tag in known.get("tags", ())),
        _metrics(server, known.get("run_id")),
        str(where["artifact_uri"]),
    )


def download(server: str, uri: str, goal: Path) -> Path:
    """Return a folder with the files at ``uri``: where they lie, or what was copied to ``goal``.

    ``mlflow-artifacts:`` comes through the tracking ``server``, everything else by fsspec. Raises
    ModelError where it cannot be read.
    """
    if uri.startswith(PROXIED):
        _copy(server, urlsplit(uri).path.strip("/"), goal)
        return goal
    try:
        system, path = fsspec.core.url_to_fs(uri)
        if "file" in system.protocol:
            return Path(path)
        system.get(path, str(goal), recursive=True)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot read {uri}: {error}") from error
    return goal


def _copy(server: str, folder: str, goal: Path) -> None:
    goal.mkdir(parents=True, exist_ok=True)
    listed = _json(server, "api/2.0/mlflow-artifacts/artifacts", path=folder)
    for entry in listed.get("files", ()):
        # A name within the folder and nothing else: a server is not asked to write elsewhere.
        name = Path(str(entry["path"])).name
        path = f"{folder}/{name}"
        if entry.get("is_dir"):
            _copy(server, path, goal / name)
        else:
            content = _get(server, f"api/2.0/mlflow-artifacts/artifacts/{quote(path)}")
            (goal / name).write_bytes(content)


def _metrics(server: str, run_id: str | None) -> dict[str, float]:
    if not run_id:
        return {}
    run = _json(server, f"{API}/runs/get", run_id=run_id)["run"]
    found = {str(m["key"]): float(m["value"]) for m in run["data"].get("metrics", ())}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _json(server: str, call: str, /, **query: str) -> Any:  # noqa: ANN401 - any JSON value
    content = _get(server, f"{call}?{urlencode(query)}")
    try:
        return json.loads(content)
    except ValueError as error:
        raise ModelError(f"{server} does not speak MLflow's REST API: {error}") from error


def _get(server: str, path: str) -> bytes:
    if urlsplit(server).scheme not in {"http", "https"}:
        raise ModelError(f"{server!r} is no http(s) address of an MLflow tracking server")
    try:
        with urlopen(f"{server.rstrip('/')}/{path}", timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked
            content: bytes = answer.read()
    except HTTPError as error:
        raise ModelError(f"{server} answers {error.code}: {_said(error)}") from error
    except (URLError, OSError) as error:
        raise ModelError(f"{server} does not answer: {error}") from error
    return content


def _said(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason
