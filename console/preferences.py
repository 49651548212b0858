"""What a caller says beside its request: how long to wait, its trace, what it has seen."""

import re
from http.cookies import CookieError, SimpleCookie

from starlette.requests import Request
from starlette.responses import Response

from console.problems import Problem

# `Prefer: wait` without seconds; and what is waited at most.
WAIT_S = 30.0
LONGEST_WAIT_S = 120.0

_TRACE = ("traceparent", "tracestate")
SEEN_COOKIE = "baton_seen"
MAX_SEEN = 16

_WAIT = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6})\"?)?\s*(?=$|[,;])", re.IGNORECASE)
_TAG = re.compile(r'"(\d{1,18})"', re.ASCII)
_SEEN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127}):(\d{1,18})", re.ASCII)


def wait_s(prefer: str | None) -> float | None:
    """Return how long the caller prefers to wait (RFC 7240); None: it says nothing of it."""
    found = _WAIT.search(prefer or "")
    if found is None:
        return None
    return min(float(found[1]), LONGEST_WAIT_S) if found[1] else WAIT_S


def trace(request: Request) -> list[tuple[str, bytes]]:
    """Return the caller's W3C trace context as the headers of a record that goes on with it."""
    return [
        (name, value.encode("latin-1"))
        for name in _TRACE
        if (value := request.headers.get(name)) is not None
    ]


def etag(revision: int) -> str:
    """Return a deployment's entity tag: its revision."""
    return f'"{revision}"'


def expected_revision(if_match: str | None) -> int | None:
    """Return the revision that If-Match names; None: any will do. Raises Problem."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        raise Problem(
            412,
            "revision_conflict",
            f"If-Match is a deployment's ETag, its revision in quotes, not {if_match[:40]!r}",
        )
    return int(found[1])


def seen(request: Request) -> dict[str, int]:
    """Return the revisions of deployments that this browser has been told, by deployment ID."""
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(SEEN_COOKIE)
    except CookieError:
        return {}
    text = "" if morsel is None else morsel.value
    return {name: int(revision) for name, revision in _SEEN.findall(text)}


def remember(
    request: Request, response: Response, deployment_id: str | None, revision: int | None
) -> None:
    """Tell the browser to ask for at least ``revision`` from now on: it reads what it wrote."""
    if not deployment_id or not revision:
        return
    known = seen(request)
    # The last ones: put at the end.
    newest = max(revision, known.pop(deployment_id, 0))
    known[deployment_id] = newest
    text = "|".join(f"{name}:{number}" for name, number in list(known.items())[-MAX_SEEN:])
    response.set_cookie(SEEN_COOKIE, text, httponly=True, samesite="strict")
    response.headers["Baton-Revision"] = str(revision)
