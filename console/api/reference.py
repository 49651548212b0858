"""The API's interactive page: Swagger UI, from the console itself."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Baton HTTP API</title>
<link rel="stylesheet" href="/static/swagger/swagger-ui.css">
</head>
<body>
<main id="reference"></main>
<script src="/static/swagger/swagger-ui-bundle.js"></script>
<script src="/static/swagger/start.js"></script>
</body>
</html>
"""


@router.get("/docs")
async def reference() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(_PAGE)
