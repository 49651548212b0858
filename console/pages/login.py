"""A browser shows the token once and has a cookie from then on."""

from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from console.pages import page
from console.security import LOGIN_PATH, SESSION_COOKIE
from console.services import Here

router = page.router()

Next = Annotated[str, Query(alias="next", max_length=2000)]
# What was sent to get here was not done.
Unsent = Annotated[str, Query(max_length=10)]


@router.get(LOGIN_PATH)
async def login(request: Request, goal: Next = "/", unsent: Unsent = "") -> Response:
    """Return the form."""
    return _form(request, goal, unsent=bool(unsent))


@router.post(LOGIN_PATH)
async def sign_in(
    request: Request, here: Here, token: Annotated[str, Form(max_length=1000)], goal: Next = "/"
) -> Response:
    """Set the cookie and go where the browser wanted to; or say that this is not the token."""
    if not here.keys.knows(token):
        return _form(request, goal, wrong=True)
    # Within the console, whatever was asked: not to //elsewhere.
    local = goal if goal.startswith("/") and goal[1:2] not in {"/", "\\"} else "/"
    response = RedirectResponse(local, 303)
    response.set_cookie(SESSION_COOKIE, here.keys.session(), httponly=True, samesite="strict")
    return response


def _form(request: Request, goal: str, *, wrong: bool = False, unsent: bool = False) -> Response:
    context = {"alone": True, "goal": goal, "wrong": wrong, "unsent": unsent}
    return page.render(request, "login.html", context, status=401 if wrong else 200)
