"""Who may call: host, origin, token and size of each request, and what a browser is told."""

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.problems import Problem
from console.settings import ConsoleSettings

SESSION_COOKIE = "baton_session"
CSRF_COOKIE = "baton_csrf"
CSRF_FIELD = "csrf"
LOGIN_PATH = "/login"
STATIC_PATH = "/static/"
LOGIN_FIRST = "token_missing"

# Of a request other than a model file: a command of 1 MiB, in whatever escapes.
BODY_BYTES = 4 * 1024**2
LENGTH_DIGITS = 18
UPLOAD_PATH = "/api/files"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What a form of any page may send to any address, without asking.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_PROGRAMS = ("/api/", "/ml/", "/v2")
# Health tells nothing and is asked by what holds no token; the login page and its style come first.
_OPEN = ("/v2/health/", STATIC_PATH, LOGIN_PATH)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Keys:
    """What the console signs with: sessions by its token, forms by a key of this process."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        # With a token the forms of a page survive a restart.
        self._forms = (token or secrets.token_urlsafe(32)).encode()

    def knows(self, token: str) -> bool:
        """Return whether ``token`` is the console's. Always, where it has none."""
        return self._token is None or hmac.compare_digest(token.encode(), self._token.encode())

    def session(self) -> str:
        """Return what a browser that has shown the token gets as its cookie."""
        return _sign((self._token or "").encode(), "session")

    def form(self, secret: str) -> str:
        """Return the token of a form for the browser whose CSRF cookie is ``secret``."""
        return _sign(self._forms, f"form {secret}")

    def form_fits(self, secret: str | None, token: str | None) -> bool:
        """Return whether a form came from a page of ours in the same browser."""
        if not secret or not token:
            return False
        return hmac.compare_digest(self.form(secret).encode(), token.encode())


class Guard:
    """ASGI middleware: refuses what must not reach the application, before it reads a byte."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings, keys: Keys) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._hosts = {"localhost", "127.0.0.1", "[::1]", *settings.hosts}
        if settings.host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared
            host = settings.host.lower()
            self._hosts.add(f"[{host}]" if ":" in host else host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, scope["path"])
        headers = Headers(scope=scope)
        problem = self._refusal(scope, headers)
        if problem is not None:
            response = problem.response(scope["path"])
            if problem.code == LOGIN_FIRST and "text/html" in headers.get("accept", ""):
                response = RedirectResponse(_login(scope, headers), 303)
            await response(scope, receive, guarded)
            return
        limit = self._settings.upload_bytes if scope["path"] == UPLOAD_PATH else BODY_BYTES
        await self._app(scope, _bounded(receive, limit), guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        host = headers.get("host", "").lower()
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            return Problem(
                421,
                "unknown_host",
                f"the console does not answer as {host[:100]!r}: use its own address, or name this "
                "one in BATON_CONSOLE_HOSTS",
            )
        path: str = scope["path"]
        if scope["method"] not in _SAFE and (refused := _foreign(path, headers, host)):
            return refused
        if not self._may(path, headers):
            return Problem(
                401,
                LOGIN_FIRST,
                "send the console's token: Authorization: Bearer TOKEN (BATON_CONSOLE_TOKEN); in a "
                "browser, load the page again and sign in",
                headers={"WWW-Authenticate": 'Bearer realm="baton"'},
            )
        return _too_large(path, headers, self._settings.upload_bytes)

    def _may(self, path: str, headers: Headers) -> bool:
        if self._settings.token is None or path.startswith(_OPEN):
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._keys.knows(token.strip())
        shown = cookie(headers, SESSION_COOKIE)
        return shown is not None and hmac.compare_digest(
            shown.encode(), self._keys.session().encode()
        )


def cookie(headers: Headers, name: str) -> str | None:
    """Return the cookie's value, or None."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def page_before(headers: Headers) -> str | None:
    """Return the path of the console's page that a request was sent from; None: of none."""
    try:
        parts = urlsplit(headers.get("referer", ""))
    except ValueError:
        return None
    ours = parts.netloc and parts.netloc.lower() == headers.get("host", "").lower()
    # A link to //elsewhere would lead there.
    return _path(parts.path, parts.query) if ours and not parts.path.startswith("//") else None


def _login(scope: Scope, headers: Headers) -> str:
    """Return where a browser signs in, and goes on to what it asked for or was sent from."""
    if scope["method"] in _SAFE:
        goal = _path(scope["path"], scope["query_string"].decode("latin-1"))
        return f"{LOGIN_PATH}?next={quote(goal)}"
    return f"{LOGIN_PATH}?next={quote(page_before(headers) or '/')}&unsent=yes"


def _path(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _foreign(path: str, headers: Headers, host: str) -> Problem | None:
    """Refuse what another site's page sends. Programs send neither of these headers."""
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if site not in {"same-origin", "none"} or (
        origin is not None and origin.lower().partition("://")[2] != host
    ):
        return Problem(
            403,
            "foreign_origin",
            f"a page of {(origin or site)[:100]} may not change anything here: open the console "
            "itself",
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if path.startswith(_PROGRAMS) and kind in _FORMS:
        return Problem(
            415,
            "unsupported_media_type",
            f"{kind} is what a form sends: send application/json (a model file: "
            "application/octet-stream)",
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        return Problem(
            415, "unsupported_media_type", "the body is read as it is: send it uncompressed"
        )
    return None


def _too_large(path: str, headers: Headers, upload_bytes: int) -> Problem | None:
    limit = upload_bytes if path == UPLOAD_PATH else BODY_BYTES
    length = headers.get("content-length", "0")
    # Longer than Python turns into a number is too large, too.
    if length.isdigit() and (len(length) > LENGTH_DIGITS or int(length) > limit):
        return too_large(limit)
    return None


def too_large(limit: int) -> Problem:
    """Return the problem of a body above ``limit`` bytes."""
    return Problem(413, "body_too_large", f"a body has at most {limit} bytes here")


def _bounded(receive: Receive, limit: int) -> Receive:
    """Count what comes: a body may have no length of its own."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise too_large(limit)
        return message

    return counted


def _with_headers(send: Send, path: str) -> Send:
    # Files of the console's are kept by the browser, and asked for with their tag; nothing else.
    cached = "no-cache" if path.startswith(STATIC_PATH) else "no-store"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", cached)
        await send(message)

    return sending


def _sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
