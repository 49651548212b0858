"""A saved model: what its manifest says, where it was promoted, and the way into a space."""

import asyncio
from urllib.parse import quote

from fastapi import Request, Response

from console import projects
from console.forms import Sent
from console.pages import page
from console.services import Here

router = page.router()

# Of a model's fields, which may be thousands.
SHOWN_FIELDS = 100


@router.get("/projects/models/{key}")
async def model(request: Request, key: str, here: Here) -> Response:
    """Return a saved model's page."""
    manifest, when = await asyncio.to_thread(projects.find_model, here.settings.home, key)
    state = await here.state.current()
    # The same file under the same name: whoever has promoted it, from wherever.
    promoted = [
        asset
        for asset in state.assets()
        if asset.manifest is not None
        and (asset.manifest.sha256, asset.manifest.name) == (manifest.sha256, manifest.name)
    ]
    return page.render(
        request,
        "model.html",
        {
            "key": key,
            "model": manifest,
            "when": when,
            "shown": SHOWN_FIELDS,
            "spaces": state.spaces(),
            "promoted": promoted,
            "notice": await page.notice(request, here),
        },
    )


@router.post("/projects/models/{key}/promote")
async def promote(request: Request, key: str, here: Here, form: Sent) -> Response:
    """Promote it into a space: it becomes an asset there."""
    manifest, _ = await asyncio.to_thread(projects.find_model, here.settings.home, key)
    data = {
        "space_id": page.wanted(form, "space_id"),
        "asset_id": page.text(form, "asset_id"),
        "manifest": manifest.model_dump(mode="json", exclude_none=True),
    }
    back = f"/projects/models/{quote(key)}"
    return await page.send(request, here, "promote-asset", data, back)
