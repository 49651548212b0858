"""What was asked and what was answered, by request id: how a request is asked again for free."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from schemas.errors import BatonError

# For so long, and for so many bytes of answers, the same id is the same answer.
MEMORY_S = 600.0
MEMORY_BYTES = 64 * 1024**2
# Requests that nobody has answered; each is some hundred bytes here.
MAX_UNANSWERED = 20_000
# What is kept beside the bytes of an answer.
_OVERHEAD = 500


class RequestIdReusedError(BatonError):
    """The id was another request's: this one was not sent."""

    code = "request_id_reused"


@dataclass(frozen=True, slots=True)
class Answer:
    """An agent's answer as it came: its headers and its JSON, untouched."""

    request_id: str
    headers: dict[str, bytes | None]
    value: bytes
    partition: int
    offset: int

    def header(self, name: str) -> str | None:
        """Return a header's text, or None."""
        raw = self.headers.get(name)
        return None if raw is None else raw.decode(errors="replace")


@dataclass(slots=True)
class Asked:
    """A request: ``digest`` is None where another console sent it, ``answered`` where it ended."""

    digest: bytes | None
    since: float = field(default_factory=time.monotonic)
    waiting: set[asyncio.Future["Answer"]] = field(default_factory=set)
    answer: Answer | None = None


class Answers:
    """The requests of the last minutes, oldest first, within bounds."""

    def __init__(self) -> None:
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._bytes = 0
        self._unanswered = 0

    def get(self, request_id: str, digest: bytes) -> Asked | None:
        """Return what is known of ``request_id``. Raises RequestIdReusedError for other bytes.

        ``digest`` is of all that makes a request: its deployment and its body.
        """
        self._forget()
        found = self._asked.get(request_id)
        if found is not None and found.digest not in {None, digest}:
            raise RequestIdReusedError(
                f"request id {request_id} belongs to another request of the last "
                f"{MEMORY_S / 60:.0f} minutes: this one was not sent; give it an id of its own"
            )
        return found

    def asked(self, request_id: str, digest: bytes) -> Asked:
        """Remember a request that is being sent."""
        asked = self._asked[request_id] = Asked(digest)
        self._unanswered += 1
        self._forget()
        return asked

    def not_sent(self, request_id: str, error: Exception) -> None:
        """Forget a request that did not get out; whoever waits for its answer gets ``error``."""
        asked = self._asked.get(request_id)
        if asked is None or asked.answer is not None:
            return
        del self._asked[request_id]
        self._unanswered -= 1
        for future in asked.waiting:
            if not future.done():
                future.set_exception(error)

    def answered(self, answer: Answer, *, ours: bool) -> None:
        """Settle a request. ``ours``: a console has asked it, this one or another."""
        asked = self._asked.get(answer.request_id)
        if asked is None:
            if not ours:
                return
            asked = self._asked[answer.request_id] = Asked(None)
        elif asked.answer is not None:
            # With delivery at least once: the first one counts.
            return
        else:
            self._unanswered -= 1
        asked.answer = answer
        self._bytes += len(answer.value) + _OVERHEAD
        for future in asked.waiting:
            if not future.done():
                future.set_result(answer)
        self._forget()

    def _forget(self) -> None:
        horizon = time.monotonic() - MEMORY_S
        while self._asked:
            request_id, asked = next(iter(self._asked.items()))
            kept = self._bytes <= MEMORY_BYTES and self._unanswered <= MAX_UNANSWERED
            if (kept and asked.since > horizon) or asked.waiting:
                return
            del self._asked[request_id]
            if asked.answer is None:
                self._unanswered -= 1
            else:
                self._bytes -= len(asked.answer.value) + _OVERHEAD
