"""An MLflow tracking server over HTTP, with the credentials that MLflow's own client would send."""

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from schemas.errors import ModelError

TIMEOUT_S = 30.0
USERNAME = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105 - the variable's name
TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - the variable's name
INSECURE = "MLFLOW_TRACKING_INSECURE_TLS"
SERVER_CERT = "MLFLOW_TRACKING_SERVER_CERT_PATH"
CLIENT_CERT = "MLFLOW_TRACKING_CLIENT_CERT_PATH"

UNAUTHORIZED = 401
FORBIDDEN = 403
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """The server at ``url``, http(s); only its own origin is sent ``authorization``."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def at(self, host: str) -> "TrackingServer":
        """Return the server at ``host``, HOST or HOST:PORT: a stranger gets no credentials."""
        url = f"{urlsplit(self.url).scheme}://{host}"
        if origin(url) == origin(self.url):
            return self
        return replace(self, url=url, authorization=None)

    def json(self, call: str, /, **query: str) -> Any:  # noqa: ANN401 - any JSON value
        """GET ``call``. Raises ModelError as ``get`` does, and where the answer is no JSON."""
        content = self.get(f"{call}?{urlencode(query)}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise ModelError(f"{self.url} does not speak MLflow's REST API: {error}") from error

    def get(self, path: str) -> bytes:
        """GET ``path``. Raises ModelError where the server does not answer, or refuses."""
        request = Request(f"{self.url}/{path}")  # noqa: S310 - http or https
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        opener = build_opener(_Redirects(), HTTPSHandler(context=self.tls))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read()
        except HTTPError as error:
            with error:
                told = self._refused(error)
            raise ModelError(f"{self.url} answers {error.code}: {told}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise ModelError(f"{self.url} does not answer: {error}") from error
        return content

    def _refused(self, error: HTTPError) -> str:
        if error.code not in {UNAUTHORIZED, FORBIDDEN}:
            return _said(error)
        if origin(error.url) != origin(self.url):
            scheme, host, port = origin(error.url)
            return (
                f"it redirects to {scheme}://{host}:{port}, which is sent no credentials; if you "
                "trust that server, name it by --tracking-uri"
            )
        if self.authorization is None:
            return f"it asks for credentials: set {USERNAME} and {PASSWORD}, or {TOKEN}"
        bearer = self.authorization.startswith("Bearer")
        given = f"token ({TOKEN})" if bearer else f"name and password ({USERNAME}, {PASSWORD})"
        if error.code == FORBIDDEN:
            return f"whoever has this {given} may not read it"
        return f"it does not accept this {given}"


def tracking_server(url: str, environ: Mapping[str, str]) -> TrackingServer:
    """Return the server at ``url`` with the credentials and certificates that ``environ`` names.

    Basic authentication goes before a token, a name and password in the URL before both, as in
    MLflow. Raises ModelError where something of it cannot be used.
    """
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        scheme, host = "", ""
    if scheme not in _PORTS or not host:
        shown = url.rpartition("@")[2]
        raise ModelError(f"{shown!r} is no http(s) address of an MLflow tracking server")
    parts = urlsplit(url)
    name, word = environ.get(USERNAME), environ.get(PASSWORD)
    if parts.username and parts.password:
        name, word = unquote(parts.username), unquote(parts.password)
    token = environ.get(TOKEN, "").strip()
    authorization = None
    if name and word:
        authorization = f"Basic {base64.b64encode(f'{name}:{word}'.encode()).decode()}"
    elif token:
        if not (token.isascii() and token.isprintable()):
            raise ModelError(f"{TOKEN} has characters that no HTTP header can hold")
        authorization = f"Bearer {token}"
    # It is shown and logged: without a name and password.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return TrackingServer(urlunsplit(bare).rstrip("/"), authorization, _tls(environ))


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what credentials are bound to.

    Raises ValueError where it is no URL.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect; credentials go on within their own origin alone."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if request is not None and authorization and origin(newurl) == origin(req.full_url):
            request.add_unredirected_header("Authorization", authorization)
        return request


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    known = environ.get(SERVER_CERT) or None
    insecure = environ.get(INSECURE, "").lower()
    if insecure not in {"", "true", "1", "false", "0"}:
        raise ModelError(f"{INSECURE} is true or false, not {insecure!r}")
    unverified = insecure in {"true", "1"}
    if unverified and known:
        raise ModelError(f"{INSECURE} and {SERVER_CERT} exclude each other: unset one")
    try:
        folder = known is not None and Path(known).is_dir()
        context = ssl.create_default_context(
            cafile=None if folder else known, capath=known if folder else None
        )
        if own := environ.get(CLIENT_CERT):
            context.load_cert_chain(own)
    except OSError as error:
        raise ModelError(f"cannot use {SERVER_CERT} or {CLIENT_CERT}: {error}") from error
    if unverified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _said(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason
