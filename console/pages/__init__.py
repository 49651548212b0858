"""The pages that a person sees: server-rendered, live by one small script."""

from fastapi import APIRouter

from console.pages import (
    audit,
    deadletters,
    deployments,
    login,
    models,
    projects,
    replacing,
    spaces,
    traffic,
)

router = APIRouter(include_in_schema=False)
for part in (
    projects,
    models,
    spaces,
    deployments,
    traffic,
    replacing,
    audit,
    deadletters,
    login,
):
    router.include_router(part.router)
