"""A browser shows the token once and has a cookie from then on."""

import html
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console.security import LOGIN_PATH, SESSION_COOKIE
from console.services import Here

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in - Baton</title>
</head>
<body>
<main>
<h1>Sign in to Baton</h1>
{message}
<form method="post" action="{action}">
<p><label for="token">The console's token (BATON_CONSOLE_TOKEN)</label></p>
<p><input id="token" name="token" type="password" required autofocus
 autocomplete="current-password"></p>
<p><button>Sign in</button></p>
</form>
</main>
</body>
</html>
"""
_WRONG = '<p role="alert">This is not the token: look for it where the console was started.</p>'

Next = Annotated[str, Query(alias="next", max_length=2000)]


@router.get(LOGIN_PATH)
async def login(goal: Next = "/") -> HTMLResponse:
    """Return the form."""
    return _form(goal)


@router.post(LOGIN_PATH)
async def sign_in(
    here: Here, token: Annotated[str, Form(max_length=1000)], goal: Next = "/"
) -> Response:
    """Set the cookie and go where the browser wanted to; or say that this is not the token."""
    if not here.keys.knows(token):
        return _form(goal, _WRONG, 401)
    # Within the console, whatever was asked: not to //elsewhere.
    local = goal if goal.startswith("/") and goal[1:2] not in {"/", "\\"} else "/"
    response = RedirectResponse(local, 303)
    response.set_cookie(SESSION_COOKIE, here.keys.session(), httponly=True, samesite="strict")
    return response


def _form(goal: str, message: str = "", status: int = 200) -> HTMLResponse:
    action = html.escape(f"{LOGIN_PATH}?next={quote(goal)}")
    return HTMLResponse(_PAGE.format(message=message, action=action), status)
