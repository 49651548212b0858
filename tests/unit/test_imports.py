"""Models made elsewhere: joblib, pickle and skops files, MLflow's folders and its registry."""

import http.server
import json
import operator
import pickle
import re
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import joblib
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
import skops.io
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from artifacts.comparison import compare
from artifacts.imports import import_model, import_registered
from artifacts.registry import registered
from artifacts.save import ModelError, save_model
from artifacts.store import Store
from artifacts.tracking import tracking_server
from artifacts.verify import Verifier
from tests.unit.models import MIXED, X, Y, mixed_pipeline

NAMES = ["length (cm)", "width (cm)", "depth"]
FRAME = pd.DataFrame(X, columns=NAMES)
# As MLflow 3.17 writes them.
COLUMNS = json.dumps([{"type": "double", "name": name, "required": True} for name in NAMES])
TENSOR = '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]'
MIXED_COLUMNS = json.dumps(
    [
        {"type": "double", "name": "age", "required": False},
        {"type": "string", "name": "city", "required": False},
        {"type": "long", "name": "visits", "required": True},
        {"type": "boolean", "name": "member", "required": True},
    ]
)
SAVE = {"pickle": pickle.dump, "cloudpickle": pickle.dump, "skops": skops.io.dump}


def mlflow_model(folder, estimator, inputs, example=None, form="cloudpickle", **flavor):
    """Write the folder that ``mlflow.sklearn.save_model`` writes, as far as it is read."""
    folder.mkdir(parents=True)
    file = "model.skops" if form == "skops" else "model.pkl"
    with (folder / file).open("wb") as goal:
        SAVE[form](estimator, goal)
    described = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.sklearn", "model_path": file},
            "sklearn": {
                "code": None,
                "pickled_model": file,
                "serialization_format": form,
                "sklearn_version": "1.9.1",
                "skops_trusted_types": None,
            }
            | flavor,
        },
        "mlflow_version": "3.17.2",
        "signature": {"inputs": inputs, "outputs": TENSOR, "params": None} if inputs else None,
    }
    if example is not None:
        kind = "dataframe" if isinstance(example, dict) else "ndarray"
        described["saved_input_example_info"] = {
            "artifact_path": "input_example.json",
            "type": kind,
        }
        (folder / "input_example.json").write_text(json.dumps(example))
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store([str(tmp_path_factory.mktemp("models") / "store")])


@pytest_asyncio.fixture(scope="module")
async def verifier(store):
    verifier = Verifier(store.roots, time_limit_s=10, memory_limit_bytes=1024**3)
    yield verifier
    await verifier.stop()


def classifier(rows=FRAME):
    return LogisticRegression().fit(rows, Y)


def split(rows):
    return {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}


@pytest.mark.parametrize("form", SAVE)
async def test_an_mlflow_model_keeps_its_signature_and_its_example(form, store, verifier, tmp_path):
    folder = mlflow_model(tmp_path / "m", classifier(), COLUMNS, split(FRAME.head(3)), form)
    manifest = import_model(folder, None, store=store, name="m", tags=["a"])
    fields = [(f.name, f.type, f.nullable) for f in manifest.input_schema.fields]
    assert fields == [(name, "double", False) for name in NAMES]
    assert manifest.sample.values == tuple(map(tuple, X[:3].tolist()))
    assert (manifest.output_schema.classes, manifest.tags) == ((0, 1), ("a",))
    assert [check for check in await verifier.verify(manifest) if not check.passed] == []


async def test_fields_that_mlflow_does_not_require_are_nullable(store, verifier, tmp_path):
    folder = mlflow_model(tmp_path / "m", mixed_pipeline(), MIXED_COLUMNS)
    manifest = import_model(folder, MIXED.assign(more=1), store=store, name="m")
    fields = {f.name: (f.type, f.nullable) for f in manifest.input_schema.fields}
    assert fields == {
        "age": ("double", True),
        "city": ("string", True),
        "visits": ("long", False),
        "member": ("boolean", False),
    }
    assert manifest.sample.fields == tuple(fields)
    assert [check for check in await verifier.verify(manifest) if not check.passed] == []


@pytest.mark.parametrize(
    ("rows", "names"), [(X, ["x0", "x1", "x2"]), (FRAME, NAMES)], ids=["array", "frame"]
)
async def test_a_tensor_signature_is_a_field_for_each_column(
    rows, names, store, verifier, tmp_path
):
    folder = mlflow_model(tmp_path / "m", classifier(rows), TENSOR, X[:2].tolist())
    manifest = import_model(folder, None, store=store, name="m")
    assert [(f.name, f.type) for f in manifest.input_schema.fields] == [
        (name, "double") for name in names
    ]
    assert [check for check in await verifier.verify(manifest) if not check.passed] == []


async def test_a_model_with_a_signature_alone_needs_no_sample(store, verifier, tmp_path):
    folder = mlflow_model(tmp_path / "m", classifier(), COLUMNS)
    manifest = import_model(folder, None, store=store, name="m")
    assert manifest.sample is None
    assert [check for check in await verifier.verify(manifest) if not check.passed] == []


@pytest.mark.parametrize("form", ["joblib", "pickle", "skops"])
def test_a_file_is_described_by_sample_rows(form, store, tmp_path):
    path = tmp_path / f"model.{form}"
    with path.open("wb") as goal:
        {"joblib": joblib.dump, **SAVE}[form](classifier(), goal)
    manifest = import_model(path, FRAME.head(), store=store, name="m", metrics={"auc": 0.9})
    assert [field.name for field in manifest.input_schema.fields] == NAMES
    assert manifest.metrics == {"auc": 0.9}
    with pytest.raises(ModelError, match="has no signature: give rows of its input, by --sample"):
        import_model(path, None, store=store, name="m")


def test_a_skops_file_is_loaded_only_where_its_types_are_trusted(store, tmp_path):
    path = tmp_path / "m.skops"
    steps = make_pipeline(FunctionTransformer(operator.methodcaller("abs")), LogisticRegression())
    skops.io.dump(steps.fit(FRAME, Y), path)
    (strange,) = skops.io.get_untrusted_types(file=path)
    with pytest.raises(ModelError, match=f"not known to be safe: {strange}; .* --trust {strange}"):
        import_model(path, FRAME, store=store, name="m")
    manifest = import_model(path, FRAME, store=store, name="m", trusted=[strange, "more"])
    assert manifest.output_schema.classes == (0, 1)
    folder = mlflow_model(
        tmp_path / "f", steps, COLUMNS, form="skops", skops_trusted_types=[strange]
    )
    # Whom its author trusts is not whom its reader trusts.
    with pytest.raises(ModelError, match="not known to be safe"):
        import_model(folder, None, store=store, name="m")


def described(folder, **changes):
    path = folder / "MLmodel"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "MLmodel").unlink(), "has no file MLmodel"),
        (lambda f: (f / "MLmodel").write_text("{"), "cannot read .*MLmodel"),
        (lambda f: (f / "MLmodel").write_text("[]"), "cannot read .*MLmodel"),
        (lambda f: described(f, flavors={"xgboost": {}}), "flavours xgboost: Baton serves sklearn"),
        (lambda f: described(f, flavors={"sklearn": {"code": "code"}}), "code of its own"),
        (
            lambda f: described(f, flavors={"sklearn": {"pickled_model": "../../x.pkl"}}),
            "names a file elsewhere",
        ),
        (lambda f: (f / "model.pkl").unlink(), "cannot read .*model.pkl"),
        (lambda f: (f / "model.pkl").write_bytes(b"no"), "cannot load .*model.pkl"),
        (lambda f: (f / "input_example.json").unlink(), "cannot read the input example"),
        (
            lambda f: described(f, signature={"inputs": COLUMNS.replace("double", "binary")}),
            "'length .cm.' is binary: a field is one of boolean",
        ),
        (
            lambda f: described(f, signature={"inputs": TENSOR.replace("-1, 3", "-1, 8, 8")}),
            "no table of rows and features",
        ),
        (
            lambda f: described(f, signature={"inputs": COLUMNS.replace("depth", "height")}),
            "lacks the field 'height'",
        ),
        (
            lambda f: described(f, signature={"inputs": COLUMNS.replace("double", "string")}),
            "does not fit its own schema",
        ),
    ],
)
def test_a_folder_that_cannot_be_imported_is_told(change, told, store, tmp_path):
    folder = mlflow_model(tmp_path / "m", classifier(), COLUMNS, split(FRAME.head(2)))
    change(folder)
    with pytest.raises(ModelError, match=told):
        import_model(folder, None, store=store, name="m")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as an MLflow 3.17 tracking server does; ``folder`` is the registered model's."""

    folder = Path()

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        root = "/api/2.0/mlflow-artifacts/artifacts"
        version = {"name": "churn", "version": "3", "run_id": "r", "description": "weekly",
                   "tags": [{"key": "team", "value": "crm"}]}  # fmt: skip
        listed = [{"path": path.name, "is_dir": path.is_dir()} for path in self.folder.glob("*")]
        metrics = [{"key": "auc", "value": 0.9}, {"key": "bad", "value": "NaN"}]
        answers = {
            ("model-versions/get", "3"): {"model_version": version},
            ("registered-models/alias", "champion"): {"model_version": version},
            ("model-versions/get-download-uri", "3"): {"artifact_uri": "mlflow-artifacts:/1/m"},
            ("runs/get", "r"): {"run": {"data": {"metrics": metrics}}},
        }
        key = query.get("version") or query.get("alias") or query.get("run_id")
        found = answers.get((url.path.removeprefix("/api/2.0/mlflow/"), key))
        if found is None and url.path == root:
            assert query == {"path": "1/m"}
            found = {"files": listed}
        if found is None and url.path.startswith(f"{root}/1/m/"):
            self.answer(200, (self.folder / Path(url.path).name).read_bytes())
        elif found is None:
            message = "Model Version (name=churn, version=4) not found"
            self.answer(404, json.dumps({"message": message}).encode())
        else:
            self.answer(200, json.dumps(found).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    Server.folder = tmp_path_factory.mktemp("registry") / "m"
    mlflow_model(Server.folder, classifier(), COLUMNS, split(FRAME.head(2)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("model", ["models:/churn/3", "models:/churn@champion"])
def test_a_registered_version_is_imported_with_what_is_known_of_it(model, registry, store):
    server = tracking_server(registry, {})
    manifest = import_registered(server, model, None, store=store, tags=["a"], metrics={"f1": 1})
    assert (manifest.name, manifest.description) == ("churn-3", "weekly")
    assert (manifest.tags, manifest.metrics) == (("team=crm", "a"), {"auc": 0.9, "f1": 1})
    assert [field.name for field in manifest.input_schema.fields] == NAMES
    assert len(manifest.sample.values) == 2


@pytest.mark.parametrize(
    ("server", "model", "told"),
    [
        (None, "models:/churn/4", "answers 404: Model Version .* not found"),
        (None, "models:/churn", "neither models:/NAME/VERSION nor models:/NAME@ALIAS"),
        ("ftp://127.0.0.1", "models:/churn/3", "is no http"),
        ("http://127.0.0.1:1", "models:/churn/3", "does not answer"),
    ],
)
def test_a_registry_that_does_not_tell_is_told(server, model, told, registry):
    with pytest.raises(ModelError, match=told):
        registered(tracking_server(server or registry, {}), model)


def test_two_models_are_compared_by_metric_field_and_prediction(store):
    model = classifier()
    one = save_model(model, FRAME, store=store, name="one", metrics={"auc": 0.9, "f1": 0.8})
    flipped = LogisticRegression().fit(FRAME, 1 - Y)
    two = save_model(flipped, FRAME, store=store, name="two", metrics={"auc": 0.7, "r": 1})
    found = compare(one, two, store)
    assert [(m.name, m.difference) for m in found.metrics] == [
        ("auc", pytest.approx(-0.2)),
        ("f1", None),
        ("r", None),
    ]
    assert all(field.same for field in found.fields)
    assert found.reason is None
    assert [pair.first.prediction for pair in found.predictions] == model.predict(
        FRAME[:5]
    ).tolist()
    assert not any(pair.same for pair in found.predictions)
    other = FRAME.rename(columns={"depth": "height"}).astype({NAMES[0]: np.float32})
    three = save_model(LinearRegression().fit(other, Y), other, store=store, name="three")
    found = compare(one, three, store)
    assert [tuple(field) for field in found.fields if not field.same] == [
        (NAMES[0], "double", "float", False),
        ("depth", "double", None, False),
        ("height", None, "double", False),
    ]
    assert found.predictions == ()
    assert re.search("three cannot read these rows: required field 'height'", found.reason)
    assert found.outputs[0]["classes"] == [0, 1]
    assert "classes" not in found.outputs[1]
