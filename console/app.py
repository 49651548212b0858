"""The console's application: only wires."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from console import openapi, pages, problems
from console.api import (
    commands,
    events,
    files,
    inference,
    predictions,
    reference,
    resources,
)
from console.following import OnFailure
from console.metrics import ConsoleMetrics, Metered
from console.security import Guard, Keys
from console.services import opened
from console.settings import ConsoleSettings

STATIC = Path(__file__).parent / "static"


def create_app(
    settings: ConsoleSettings, on_failure: OnFailure, metrics: ConsoleMetrics | None = None
) -> FastAPI:
    """Return the application; ``on_failure`` hears of what ends a view of Kafka."""
    keys = Keys(settings.token)
    metrics = metrics or ConsoleMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(settings, keys, on_failure) as services:
            app.state.services = services
            metrics.watch(
                streams=lambda: services.streams.open,
                waiting=lambda: services.gateway.waiting,
                age_s=lambda: services.state.age_s,
                measured=lambda: services.meter.measured,
            )
            yield

    app = FastAPI(
        lifespan=lifespan,
        version=version("baton"),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Guard, settings=settings, keys=keys)
    # Added last, called first: what the guard refuses is counted, too.
    app.add_middleware(Metered, metrics=metrics)
    api = (predictions, inference, resources, commands, events, files, reference)
    for part in api:
        app.include_router(part.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
