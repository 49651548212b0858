"""Models that people have already: joblib, pickle and skops files, and MLflow's model folders."""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import pandas as pd
import yaml

from artifacts.infer import as_frame, sample_rows
from artifacts.load import unpickle, versioned
from artifacts.registry import download, registered
from artifacts.save import Details, loaded, save_model, save_with_schema
from artifacts.store import Store
from artifacts.tracking import TrackingServer
from schemas.errors import ModelError
from schemas.manifest import FieldType, InputSchema, Manifest, Sample, SchemaField

DESCRIPTION = "MLmodel"
SKOPS = ".skops"
# MLflow's column types (mlflow.types.DataType) that a field can have.
_TYPES = {
    "boolean": FieldType.BOOLEAN,
    "integer": FieldType.INTEGER,
    "long": FieldType.LONG,
    "float": FieldType.FLOAT,
    "double": FieldType.DOUBLE,
    "string": FieldType.STRING,
    "datetime": FieldType.TIMESTAMP,
}
_TENSORS = {
    "bool": FieldType.BOOLEAN,
    "int32": FieldType.INTEGER,
    "int64": FieldType.LONG,
    "float32": FieldType.FLOAT,
    "float64": FieldType.DOUBLE,
}
_TABLE = 2


class Imported(NamedTuple):
    """A model as it was found; ``schema`` and ``sample`` are None where nothing tells them."""

    estimator: Any
    schema: InputSchema | None
    sample: Sample | None


def import_model(
    path: Path,
    sample: pd.DataFrame | None,
    *,
    store: Store,
    name: str,
    trusted: Collection[str] = (),
    **more: Unpack[Details],
) -> Manifest:
    """Save the model at ``path``: a folder that MLflow wrote, a .skops file, else joblib or pickle.

    The input schema is MLflow's signature; without one it is inferred from ``sample``. All but
    skops files run code while they are loaded; those are loaded where each of their types is known
    to be safe or ``trusted``. Raises ModelError: unreadable, of another scikit-learn version, of
    types that nobody trusts, neither signature nor sample, or it does not predict.
    """
    found = _mlflow(path, trusted) if path.is_dir() else Imported(_file(path, trusted), None, None)
    if found.schema is None:
        if sample is None:
            raise ModelError(f"{path} has no signature: give rows of its input, by --sample")
        return save_model(found.estimator, sample, store=store, name=name, **more)
    rows = found.sample if sample is None else _picked(found.schema, sample)
    return save_with_schema(found.estimator, found.schema, rows, store=store, name=name, **more)


def import_registered(  # noqa: PLR0913 - where it is, and what becomes of it
    server: TrackingServer,
    model: str,
    sample: pd.DataFrame | None,
    *,
    store: Store,
    name: str | None = None,
    trusted: Collection[str] = (),
    **more: Unpack[Details],
) -> Manifest:
    """Save a version of MLflow's registry (artifacts.registry) as ``import_model`` does.

    Its name is NAME-VERSION; its description, tags and its run's metrics go with it, beside those
    that are given.
    """
    found = registered(server, model)
    more["description"] = more.get("description") or found.description
    more["tags"] = (*found.tags, *more.get("tags", ()))
    more["metrics"] = {**found.metrics, **(more.get("metrics") or {})}
    with tempfile.TemporaryDirectory(prefix="baton-mlflow-") as scratch:
        folder = download(server, found.uri, Path(scratch) / "model")
        given = name or f"{found.name}-{found.version}"
        return import_model(folder, sample, store=store, name=given, trusted=trusted, **more)


def _file(path: Path, trusted: Collection[str]) -> Any:  # noqa: ANN401 - any estimator
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if path.suffix.lower() == SKOPS:
        return loaded(str(path), lambda: versioned(lambda: _skops(path, content, trusted)))
    return loaded(str(path), lambda: unpickle(content))


def _skops(path: Path, content: bytes, trusted: Collection[str]) -> Any:  # noqa: ANN401
    try:
        from skops import io  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ModelError(f"{path} needs skops: install baton[imports]") from error
    unknown = io.get_untrusted_types(data=content)
    if strangers := sorted(set(unknown) - set(trusted)):
        more = " ".join(f"--trust {name}" for name in strangers)
        raise ModelError(
            f"{path} has types that are not known to be safe: {', '.join(strangers)}; if you trust "
            f"them: {more}"
        )
    return io.loads(content, trusted=list(unknown))


def _mlflow(folder: Path, trusted: Collection[str]) -> Imported:
    try:
        described = yaml.safe_load((folder / DESCRIPTION).read_text())
        flavor = described["flavors"].get("sklearn")
    except FileNotFoundError:
        raise ModelError(
            f"{folder} has no file {DESCRIPTION}: an MLflow model is a folder with one"
        ) from None
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"cannot read {folder / DESCRIPTION}: {error!r}") from error
    if flavor is None:
        flavors = ", ".join(described["flavors"])
        raise ModelError(f"{folder} is of the flavours {flavors}: Baton serves sklearn")
    if flavor.get("code"):
        raise ModelError(
            f"{folder} brings code of its own ({flavor['code']}), which the workers do not have: "
            "make it a package and install that where workers and agents run"
        )
    file = folder / str(flavor.get("pickled_model", "model.pkl"))
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / DESCRIPTION} names a file elsewhere: {file}")
    estimator = _file(file, trusted)
    written = (described.get("signature") or {}).get("inputs")
    if not written:
        return Imported(estimator, None, None)
    schema = _schema(json.loads(written), getattr(estimator, "feature_names_in_", None))
    example = described.get("saved_input_example_info")
    return Imported(estimator, schema, _example(folder, example, schema))


def _schema(inputs: list[dict[str, Any]], names: Any) -> InputSchema:  # noqa: ANN401
    """Return what an MLflow signature says; ``names`` are those that the model was fitted on."""
    first = inputs[0]
    if first["type"] == "tensor":
        spec = first["tensor-spec"]
        if len(inputs) > 1 or len(spec["shape"]) != _TABLE or spec["shape"][1] < 1:
            raise ModelError(f"its signature is no table of rows and features: {inputs}")
        named = [f"x{i}" for i in range(spec["shape"][1])] if names is None else list(names)
        kind = _field_type(_TENSORS, spec["dtype"], "every field")
        return InputSchema(fields=tuple(SchemaField(name=str(n), type=kind) for n in named))
    fields = []
    for index, column in enumerate(inputs):
        name = str(column.get("name", f"x{index}"))
        kind = _field_type(_TYPES, column["type"], repr(name))
        optional = not column.get("required", True)
        fields.append(SchemaField(name=name, type=kind, nullable=optional))
    return InputSchema(fields=tuple(fields))


def _field_type(known: dict[str, FieldType], written: object, field: str) -> FieldType:
    try:
        return known[str(written)]
    except KeyError:
        raise ModelError(
            f"its signature says that {field} is {written}: a field is one of {', '.join(known)}"
        ) from None


def _example(folder: Path, info: dict[str, Any] | None, schema: InputSchema) -> Sample | None:
    """Return the input example that was saved with the model, if it is a table."""
    if not info or info.get("type") not in {"dataframe", "ndarray"}:
        return None
    try:
        found = json.loads((folder / str(info["artifact_path"])).read_text())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read the input example of {folder}: {error!r}") from error
    if info["type"] == "dataframe":
        frame = pd.DataFrame(found["data"], columns=found.get("columns"))
        return _picked(schema, frame)
    return _picked(schema, as_frame(found).set_axis([f.name for f in schema.fields], axis=1))


def _picked(schema: InputSchema, frame: pd.DataFrame) -> Sample:
    """Return rows of the fields of ``schema``; what the model does not read is left out."""
    frame = as_frame(frame)
    names = [field.name for field in schema.fields]
    if absent := [name for name in names if name not in frame.columns]:
        raise ModelError(f"the sample lacks the field {absent[0]!r} of the model's signature")
    return sample_rows(frame[names])
