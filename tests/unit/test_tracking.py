"""Who asks an MLflow tracking server: credentials by environment, to its own origin alone."""

import base64
import contextlib
import http.server
import shutil
import ssl
import subprocess
import threading

import pytest
from click.testing import CliRunner

from artifacts.registry import download
from artifacts.save import ModelError
from artifacts.tracking import tracking_server
from client.cli import main

NAMED = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": "se:cret"}
BASIC = f"Basic {base64.b64encode(b'ana:se:cret').decode()}"
TOKEN = {"MLFLOW_TRACKING_TOKEN": "s3cret-token"}
BEARER = "Bearer s3cret-token"
WRONG = NAMED | {"MLFLOW_TRACKING_PASSWORD": "gu3ssed"}
CLI = ("model", "import", "models:/churn/3", "--tracking-uri")


class Guarded(http.server.BaseHTTPRequestHandler):
    """Answers {} to whom it knows; /to/URL sends on to URL, and /forbidden is for nobody."""

    def do_GET(self):
        sent = self.headers["Authorization"]
        self.server.seen.append((self.path, sent))
        _, _, goal = self.path.partition("/to/")
        if goal:
            self.send_response(302)
            self.send_header("location", goal)
        elif sent not in {BASIC, BEARER}:
            self.send_response(401)
        else:
            self.send_response(403 if self.path == "/forbidden" else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(wrapped=lambda socket: socket):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        server.seen = []
        server.socket = wrapped(server.socket)
        server.address = f"127.0.0.1:{server.server_port}"
        server.url = f"http://{server.address}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mlflow():
    with serving() as server:
        yield server


@pytest.fixture
def elsewhere():
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        ({}, None),
        (NAMED, BASIC),
        (TOKEN, BEARER),
        # As in MLflow.
        (NAMED | TOKEN, BASIC),
        ({"MLFLOW_TRACKING_USERNAME": "ana"} | TOKEN, BEARER),
        ({"MLFLOW_TRACKING_TOKEN": "s3cret-token\n"}, BEARER),
    ],
)
def test_credentials_come_from_the_environment(environ, sent, mlflow):
    with contextlib.nullcontext() if sent else pytest.raises(ModelError, match="401"):
        tracking_server(mlflow.url, environ).get("x")
    assert mlflow.seen == [("/x", sent)]


def test_a_name_in_the_address_is_sent_and_not_shown(mlflow):
    server = tracking_server(f"http://ana:se%3Acret@{mlflow.address}/", WRONG)
    assert server.get("x") == b"{}"
    assert mlflow.seen == [("/x", BASIC)]
    assert server.url == mlflow.url
    assert "cret" not in repr(server)
    assert base64.b64encode(b"ana:se:cret").decode() not in repr(server)


def test_a_redirect_within_the_server_keeps_them_and_one_elsewhere_gets_none(mlflow, elsewhere):
    server = tracking_server(mlflow.url, NAMED)
    assert server.get(f"to/{mlflow.url}/x") == b"{}"
    assert mlflow.seen[-1] == ("/x", BASIC)
    with pytest.raises(ModelError) as told:
        server.get(f"to/{elsewhere.url}/x")
    assert elsewhere.seen == [("/x", None)]
    assert f"redirects to {elsewhere.url}, which is sent no credentials" in str(told.value)
    # Nor does it get them by way of a second one, back again.
    with pytest.raises(ModelError):
        server.get(f"to/{elsewhere.url}/to/{mlflow.url}/x")
    assert mlflow.seen[-1] == ("/x", None)


def test_artifacts_elsewhere_are_asked_for_without_credentials(mlflow, elsewhere, tmp_path):
    server = tracking_server(mlflow.url, TOKEN)
    download(server, f"mlflow-artifacts://{mlflow.address}/1/m", tmp_path / "own")
    assert {sent for _, sent in mlflow.seen} == {BEARER}
    with pytest.raises(ModelError, match="asks for credentials"):
        download(server, f"mlflow-artifacts://{elsewhere.address}/1/m", tmp_path / "other")
    assert {sent for _, sent in elsewhere.seen} == {None}


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "401: it asks for credentials: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_"),
        (WRONG, "401: it does not accept this name and password (MLFLOW_TRACKING_USERNAME, MLF"),
        ({"MLFLOW_TRACKING_TOKEN": "gu3ssed"}, "401: it does not accept this token (MLFLOW_TRACK"),
        ({"MLFLOW_TRACKING_TOKEN": "gu3ssed\nX: y"}, "MLFLOW_TRACKING_TOKEN has characters that"),
        ({"MLFLOW_TRACKING_INSECURE_TLS": "maybe"}, "MLFLOW_TRACKING_INSECURE_TLS is true or f"),
        (
            {"MLFLOW_TRACKING_INSECURE_TLS": "1", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/x"},
            "exclude each other: unset one",
        ),
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": "/nowhere"}, "cannot use MLFLOW_TRACKING_SERVER_CE"),
    ],
)
def test_a_refusal_names_the_variables_and_tells_no_secret(environ, told, mlflow):
    done = CliRunner(env=environ | {"COLUMNS": "300"}).invoke(main, [*CLI, mlflow.url])
    assert done.exit_code == 1
    assert told in done.output
    assert "gu3ssed" not in done.output


def test_who_is_known_and_may_not_read_is_told(mlflow):
    with pytest.raises(ModelError, match=r"403: .* \(MLFLOW_TRACKING_TOKEN\) may not read it"):
        tracking_server(mlflow.url, TOKEN).get("forbidden")


@pytest.mark.parametrize("url", ["http://ana:s3/cret@h", "ana:s3cret@h:5000", "ftp://a:s3cret@h"])
def test_an_address_that_is_none_is_told_without_its_password(url):
    with pytest.raises(ModelError, match="is no http") as told:
        tracking_server(url, {})
    assert "s3" not in str(told.value)


def test_a_certificate_of_its_own_is_trusted_where_that_is_asked_for(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here, to make a certificate")
    key, known = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", known]
    subprocess.run([*command, *name, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known, key)
    with serving(lambda socket: context.wrap_socket(socket, server_side=True)) as server:
        url = f"https://{server.address}"
        with pytest.raises(ModelError, match="certificate verify failed"):
            tracking_server(url, TOKEN).get("x")
        assert server.seen == []
        for more in (
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(known)},
            {"MLFLOW_TRACKING_INSECURE_TLS": "true"},
        ):
            assert tracking_server(url, TOKEN | more).get("x") == b"{}"
