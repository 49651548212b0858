"""A pipeline of an experiment becomes a saved model, in a process of its own.

Its file is the operator's own, and is unpickled for that. It may still crash, hang or take memory,
and holds the interpreter while it loads: none of that is done to those whom the console serves.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import experiments
from artifacts import library
from artifacts.confinement import kill_group
from artifacts.shown import said
from artifacts.store import Store
from console.projects import experiments_folder, models_folder
from schemas.errors import BatonError
from schemas.ids import is_id

TIME_LIMIT_S = 120.0
# The second click of a person waits for the first, and then is told that the name is taken.
_ONE_AT_A_TIME = asyncio.Semaphore(1)


class SavingError(BatonError):
    """A pipeline cannot be saved as a model."""

    code = "not_saved"


class Order(BaseModel):
    """What to save, from where, into which stores, and what to say of it."""

    model_config = ConfigDict(frozen=True)

    home: Path
    experiment: str
    pipeline: int
    stores: tuple[str, ...]
    name: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    project_id: str | None = None


async def save(order: Order, environment: Mapping[str, str]) -> None:
    """Save it. Raises SavingError, which says why it was not."""
    await asyncio.to_thread(check, order)
    async with _ONE_AT_A_TIME:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "console.saving",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                told, _ = await process.communicate(order.model_dump_json().encode())
        except TimeoutError:
            raise SavingError(
                f"the pipeline was not saved within {TIME_LIMIT_S:.0f} s: it does not load, or the "
                "store is slow"
            ) from None
        finally:
            if process.returncode is None:
                kill_group(process.pid)
                await process.wait()
    if not told:
        raise SavingError(
            f"the process that saves has died (exit status {process.returncode}): the pipeline's "
            "file ends it, or the machine is out of memory"
        )
    if fault := json.loads(told)["fault"]:
        raise SavingError(fault)


def check(order: Order) -> None:
    """Raise SavingError where the model's name cannot be, or is taken."""
    for what, given in (("model", order.name), ("project", order.project_id)):
        if given is not None and not is_id(given):
            raise SavingError(
                f"{given!r} is no name for a {what}: it has letters, digits, dots, dashes and "
                "underscores, 128 at most, and begins with a letter or a digit"
            )
    if library.manifest_path(models_folder(order.home), order.name).exists():
        raise SavingError(f"there is a model {order.name} already: give another name")


def carry_out(order: Order) -> None:
    """Save it, here. Raises BatonError."""
    root = experiments_folder(order.home)
    manifest = experiments.save_pipeline(
        root,
        experiments.load(root, order.experiment),
        order.pipeline,
        store=Store(order.stores),
        name=order.name,
        description=order.description,
        tags=order.tags,
        project_id=order.project_id,
    )
    goal = library.manifest_path(models_folder(order.home), manifest.name)
    library.write_manifest(goal, manifest, new=True)


def main() -> None:
    """Carry out the order on stdin, and say on stdout what went wrong."""
    answer = os.fdopen(os.dup(1), "w")
    # What a model prints while it loads is no answer.
    os.dup2(2, 1)
    fault = None
    try:
        carry_out(Order.model_validate_json(sys.stdin.buffer.read()))
    except BatonError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001 - it ran what is in the pipeline's file
        fault = said(error)
    with answer:
        json.dump({"fault": fault}, answer)


if __name__ == "__main__":
    main()
