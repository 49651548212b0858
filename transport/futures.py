"""Futures whose errors are told elsewhere."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def retrieve(done: "asyncio.Future[Any]") -> None:
    """Take note of the error of ``done``, if it has one: asyncio logs those that nobody has."""
    if not done.cancelled():
        done.exception()
