"""What every page shares: how it is rendered, how a form becomes a command, and what it is told."""

import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from starlette.datastructures import FormData

from client.errors import CommandRejected, UpdateFailed
from console import documents, forms
from console.cursor import Cursor
from console.preferences import remember, trace
from console.problems import Problem, as_problem
from console.security import page_before
from console.services import Services
from experiments import plots
from schemas.events import EventName
from schemas.records import DeploymentRecord

log = logging.getLogger(__name__)

# Most commands end at once: then the page that follows says so. A verification is shown as it goes.
QUICK_S = 2.0
SERVER_ERROR = 500
# How long a page waits for the event that its browser was told of.
TOLD_S = 1.0
# Of a revision.
DIGITS = 18

_TEMPLATES = Path(__file__).parents[1] / "templates"
# An experiment's plots are drawn as on the page that it comes with.
_templates = Jinja2Templates([_TEMPLATES, Path(plots.__file__).parent])
_templates.env.autoescape = True
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True
_templates.env.globals["plots"] = plots
_templates.env.globals["event_names"] = " ".join(EventName)


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def page(request: Request) -> Response:
            feed = request.app.state.services.feed
            # Before the page is made: what comes while it is, its script asks for.
            request.state.cursor = str(feed.cursor)
            try:
                # An event has renewed the page, and another console may have sent it.
                if (told := request.headers.get("last-event-id")) is not None:
                    await feed.reached(Cursor.parse(told, feed.partitions), TOLD_S)
                    request.state.cursor = str(feed.cursor)
                return await handle(request)
            except Exception as error:
                problem = as_problem(error)
                if problem.status_code >= SERVER_ERROR:
                    log.exception("page %s", request.url.path)
                context = {"problem": problem, "back": page_before(request.headers)}
                return render(request, "problem.html", context, status=problem.status_code)

        return page


def router() -> APIRouter:
    """Return a router for pages."""
    return APIRouter(route_class=PageRoute)


def render(
    request: Request, template: str, context: dict[str, Any], *, status: int = 200
) -> Response:
    """Return a page; its forms carry the token of this browser."""
    shown = {
        "csrf": forms.token(request),
        "path": request.url.path,
        "cursor": request.state.cursor,
        "about": "",
        **context,
    }
    response = _templates.TemplateResponse(request, template, shown, status_code=status)
    forms.keep(request, response)
    notice = context.get("notice")
    if notice is not None:
        # What this browser was told it reads from now on.
        remember(request, response, notice.deployment_id, notice.revision)
    return response


async def notice(request: Request, here: Services) -> documents.Command | None:
    """Return what became of the command that the page's address names, if it names one."""
    command_id = request.query_params.get("command", "")
    progress = await here.commands.progress(command_id) if command_id else None
    return None if progress is None else documents.command(progress)


def about(**filters: str) -> str:
    """Return the filters of the event stream that renews a page: without them, every event does."""
    return urlencode(filters)


def about_deployment(record: DeploymentRecord, told: documents.Command | None) -> str:
    """Return those of a deployment's page; while a command is awaited, its space's events are.

    A command that cannot be read is refused by an event that names no deployment.
    """
    if told is not None and told.status in {"pending", "running"}:
        return about(space_id=record.space_id)
    return about(deployment_id=record.deployment_id)


async def send(  # noqa: PLR0913 - a command and where its page is
    request: Request,
    here: Services,
    name: str,
    data: dict[str, Any],
    back: str,
    *,
    wait_s: float = QUICK_S,
) -> Response:
    """Publish a command and go to the page that tells what becomes of it."""
    try:
        command_id, _ = await here.commands.submit(name, data, wait_s=wait_s, more=trace(request))
    except (CommandRejected, UpdateFailed) as error:
        command_id = error.event.command_id
    return RedirectResponse(f"{back}?command={command_id}", 303)


def text(form: FormData, name: str) -> str | None:
    """Return what a form's field says; None where it is empty or absent."""
    given = form.get(name)
    return given.strip() or None if isinstance(given, str) else None


def wanted(form: FormData, name: str) -> str:
    """Return what a form's field says. Raises Problem (422) where it is empty."""
    found = text(form, name)
    if found is None:
        raise Problem(422, "invalid_command", f"{name.replace('_', ' ')} must be filled in")
    return found


def whole(name: str, given: str) -> int:
    """Return what the field ``name`` says as a whole number. Raises Problem (422)."""
    if given.isascii() and given.isdigit() and len(given) <= DIGITS:
        return int(given)
    what = name.replace("_", " ")
    raise Problem(422, "invalid_command", f"{what} is a whole number, not {given[:40]!r}")


def revision(form: FormData) -> int:
    """Return the revision that the page was made of: what is asked for holds for it alone."""
    return whole("expected_revision", wanted(form, "expected_revision"))
