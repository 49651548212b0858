"""Verification of model files, out of this process: a bad model costs a failed check, no more."""

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.checks import Check
from schemas.manifest import Manifest

# Only what Python needs to run: a model must not read the secrets of its verifier.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LINE_BYTES = 64 * 1024**2
ATTEMPTS = 2
STOP_S = 5.0


class Verifier:
    """Tests models in child processes under a time limit (s) and a memory limit (bytes)."""

    def __init__(
        self,
        store_roots: Sequence[str],
        *,
        time_limit_s: float = 60.0,
        memory_limit_bytes: int = 2 * 1024**3,
    ) -> None:
        self._limits = {
            "roots": list(store_roots),
            "time_limit_s": time_limit_s,
            "memory_limit_bytes": memory_limit_bytes,
        }
        self._starting = asyncio.Lock()
        self._zygote: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}

    async def start(self) -> None:
        """Start the process that verifies; ``verify`` does it where nobody has."""
        async with self._starting:
            if self._zygote is not None and self._zygote.returncode is None:
                return
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            environment |= _ONE_THREAD
            environment["PYTHONPATH"] = os.pathsep.join(
                [str(Path(__file__).parents[1]), *filter(None, sys.path)]
            )
            self._zygote = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "artifacts.zygote",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                limit=LINE_BYTES,
                # A Ctrl-C at the terminal is for the parent, which then ends it.
                start_new_session=True,
            )
            self._reader = asyncio.create_task(self._read(self._zygote))

    async def stop(self) -> None:
        """End it and what it runs. Verifications under way are cancelled."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None and zygote.stdin is not None:
            zygote.stdin.close()
            try:
                async with asyncio.timeout(STOP_S):
                    await zygote.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    zygote.kill()
                await zygote.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    async def verify(self, manifest: Manifest) -> tuple[Check, ...]:
        """Return the checks made (schemas.checks.VERIFICATION_CHECKS). No model makes it raise."""
        for _ in range(ATTEMPTS):
            await self.start()
            # Lost with the process that worked on it: tried once more, in a fresh one.
            with contextlib.suppress(ConnectionError):
                return tuple(Check.model_validate(entry) for entry in await self._ask(manifest))
        return (
            Check(
                name="load",
                passed=False,
                expected="a verification that ends",
                actual=f"the verifying process died {ATTEMPTS} times",
                hint="the machine may be out of memory; send the command again",
            ),
        )

    async def _ask(self, manifest: Manifest) -> list[Any]:
        zygote = self._zygote
        if zygote is None or zygote.stdin is None:
            raise ConnectionResetError("the verifier was stopped")
        job = str(uuid.uuid4())
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[job] = answer
        order = {"id": job, "manifest": manifest.model_dump(mode="json"), **self._limits}
        try:
            zygote.stdin.write(json.dumps(order).encode() + b"\n")
            await zygote.stdin.drain()
            return await answer
        finally:
            self._waiting.pop(job, None)

    async def _read(self, zygote: asyncio.subprocess.Process) -> None:
        if zygote.stdout is None:
            return
        async for line in zygote.stdout:
            result = json.loads(line)
            answer = self._waiting.get(result["id"])
            if answer is not None and not answer.done():
                answer.set_result(result["checks"])
        await zygote.wait()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the verifying process died"))
