"""Verification of model files, out of this process: a bad model costs a failed check, no more."""

import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from artifacts.confinement import clean_environment
from schemas.checks import Check
from schemas.manifest import Manifest

LINE_BYTES = 64 * 1024**2
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
        self._zygote: _Zygote | None = None

    async def start(self) -> None:
        """Start the process that verifies; ``verify`` does it where nobody has."""
        await self._running()

    async def stop(self) -> None:
        """End it and what it runs. Verifications under way are cancelled."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await zygote.stop()

    async def verify(self, manifest: Manifest) -> tuple[Check, ...]:
        """Return the checks made (schemas.checks.VERIFICATION_CHECKS). No model makes it raise."""
        order = {"manifest": manifest.model_dump(mode="json"), **self._limits}
        with contextlib.suppress(ConnectionError):
            return await (await self._running()).ask(order)
        # Lost with the process that worked on it, maybe through another model: once more, alone.
        alone = await _Zygote.start()
        try:
            with contextlib.suppress(ConnectionError):
                return await alone.ask(order)
        finally:
            await alone.stop()
        return (
            Check(
                name="load",
                passed=False,
                expected="a verification that ends",
                actual="the verifying process died twice",
                hint="the model ends it, or the machine is out of memory; send the command again",
            ),
        )

    async def _running(self) -> "_Zygote":
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                self._zygote = await _Zygote.start()
            return self._zygote


class _Zygote:
    """The process ``artifacts.zygote``, and who waits for its answers."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        orders: asyncio.StreamWriter,
        results: asyncio.StreamReader,
    ) -> None:
        self.process = process
        self._orders = orders
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._reader = asyncio.create_task(self._read(results))

    @classmethod
    async def start(cls) -> "_Zygote":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "artifacts.zygote",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=clean_environment(),
            limit=LINE_BYTES,
            # A Ctrl-C at the terminal is for the parent, which then ends it.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise ConnectionError("the verifying process has no pipes")
        return cls(process, process.stdin, process.stdout)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and not self._reader.done()

    async def stop(self) -> None:
        self._orders.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self._reader

    async def ask(self, order: dict[str, Any]) -> tuple[Check, ...]:
        """Return the checks of ``order``. Raises ConnectionError where the process dies first."""
        if not self.alive:
            raise ConnectionResetError("the verifying process is gone")
        job = str(uuid.uuid4())
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[job] = answer
        try:
            self._orders.write(json.dumps({"id": job, **order}).encode() + b"\n")
            await self._orders.drain()
            return tuple(Check.model_validate(entry) for entry in await answer)
        finally:
            self._waiting.pop(job, None)

    async def _read(self, results: asyncio.StreamReader) -> None:
        async for line in results:
            result = json.loads(line)
            answer = self._waiting.get(result["id"])
            if answer is not None and not answer.done():
                answer.set_result(result["checks"])
        await self.process.wait()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the verifying process died"))
