"""The pages that a person sees: server-rendered, live by one small script."""

from fastapi import APIRouter

from console.pages import audit, deployments, replacing, spaces, traffic

router = APIRouter(include_in_schema=False)
for part in (spaces, deployments, traffic, replacing, audit):
    router.include_router(part.router)
