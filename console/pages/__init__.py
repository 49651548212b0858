"""The pages that a person sees: server-rendered, live by one small script."""

from fastapi import APIRouter

from console.pages import audit, deployments, models, projects, replacing, spaces

router = APIRouter(include_in_schema=False)
for part in (projects, models, spaces, deployments, replacing, audit):
    router.include_router(part.router)
