"""Identifiers: their form, and how Baton mints them."""

import re
import uuid
from typing import Annotated

from pydantic import StringConstraints

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


def is_id(text: str) -> bool:
    """Return whether ``text`` has the form of an ID."""
    return re.fullmatch(ID_PATTERN, text) is not None


# Fixed for ever: minted ids are uuid5 under it, so a client can compute them before the answer.
NAMESPACE = uuid.UUID("6f0c1d3e-6f2b-5c57-9f0e-0b6a70b0c0de")


def command_key(source: str, command_id: str) -> str:
    """Return the identity of a command: CloudEvents holds ``source`` + ``id`` to be unique.

    The length prefix keeps ``("a", "b/c")`` and ``("a/b", "c")`` apart.
    """
    return str(uuid.uuid5(NAMESPACE, f"{len(source)}:{source}/{command_id}"))


def minted_id(kind: str, space_id: str, source: str, command_id: str) -> str:
    """Return the UUID that the command ``(source, command_id)`` gives to the ``kind`` it makes.

    ``kind`` is ``"deployment"`` or ``"asset"``. The space is part of it: spaces have owners of
    their own, who do not know each other's commands, and no two may mint the same ID. uuid5: RFC
    9562, section 5.5.
    """
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{space_id}:{command_key(source, command_id)}"))
