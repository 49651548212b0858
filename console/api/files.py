"""Model files: streamed into the store, under their own digest."""

import asyncio
import base64
import hashlib
import re
import tempfile
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, Header, Request

from console import documents
from console.openapi import problems
from console.problems import Problem
from console.security import UPLOAD_PATH
from console.services import Here
from schemas.errors import StoreError

router = APIRouter(tags=["model files"])

# Collected before a thread writes them.
BLOCK = 1024 * 1024
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


@router.post(
    UPLOAD_PATH,
    status_code=201,
    summary="Upload a model file",
    responses=problems(422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def upload(
    request: Request,
    here: Here,
    content_digest: Annotated[
        str | None,
        Header(
            alias="Content-Digest",
            pattern=_DIGEST.pattern,
            description="RFC 9530, e.g. `sha-256=:…:`; a file with another digest is refused.",
        ),
    ] = None,
) -> documents.StoredFile:
    """Store the body, a joblib file. It is not loaded here: a worker verifies it in a sandbox.

    The same bytes are stored once. Put `uri`, `sha256` and `size` into the manifest to promote.
    """
    with tempfile.TemporaryDirectory(prefix="baton-upload-") as folder:
        path = Path(folder) / "model.joblib"
        try:
            digest, size = await _receive(request, path)
        except OSError as error:
            raise StoreError(f"cannot keep what is uploaded: {error}") from error
        if size == 0:
            raise Problem(422, "empty_file", "the body is empty: send the bytes of a joblib file")
        if content_digest and (wanted := _DIGEST.search(content_digest)):
            expected = base64.b64decode(wanted[1]).hex()
            if expected != digest:
                raise Problem(
                    422,
                    "digest_mismatch",
                    f"Content-Digest says SHA-256 {expected}, what came has {digest}",
                )
        stored = await asyncio.to_thread(here.store.put, path)
    return documents.StoredFile(uri=stored.uri, sha256=stored.sha256, size=stored.size)


async def _receive(request: Request, path: Path) -> tuple[str, int]:
    """Write the body to ``path`` and return its SHA-256 (hex) and its size in bytes."""
    digest, size, block = hashlib.sha256(), 0, bytearray()
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in request.stream():
            block += chunk
            size += len(chunk)
            if len(block) >= BLOCK:
                await asyncio.to_thread(_write, file, digest, bytes(block))
                block.clear()
        await asyncio.to_thread(_write, file, digest, bytes(block))
    return digest.hexdigest(), size


def _write(file: IO[bytes], digest: "hashlib._Hash", block: bytes) -> None:
    digest.update(block)
    file.write(block)
