"""Forms of the console's own pages: each bears a token that fits the browser it was made for."""

import secrets
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.datastructures import FormData, UploadFile

from console.problems import Problem
from console.security import CSRF_COOKIE, CSRF_FIELD, cookie
from console.services import Here


def token(request: Request) -> str:
    """Return the token for a form in the answer to ``request``: the hidden field ``csrf``."""
    known = cookie(request.headers, CSRF_COOKIE) or getattr(request.state, "csrf", None)
    request.state.csrf = known or secrets.token_urlsafe(32)
    made: str = request.app.state.services.keys.form(request.state.csrf)
    return made


def keep(request: Request, response: Response) -> None:
    """Give the browser the cookie that its form's token goes with, where it has none yet."""
    made = getattr(request.state, "csrf", None)
    if made is not None and cookie(request.headers, CSRF_COOKIE) != made:
        response.set_cookie(CSRF_COOKIE, made, httponly=True, samesite="strict")


async def sent(request: Request, here: Here) -> FormData:
    """Return the form that was sent. Raises Problem (403) where it is not from a page of ours."""
    form = await request.form()
    given = form.get(CSRF_FIELD)
    if isinstance(given, UploadFile) or not here.keys.form_fits(
        cookie(request.headers, CSRF_COOKIE), given
    ):
        raise Problem(403, "form_expired", "the page has expired: load it again, then send it")
    return form


Sent = Annotated[FormData, Depends(sent)]
