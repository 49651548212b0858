"""W3C Trace Context as it crosses a topic: the headers ``traceparent`` and ``tracestate``.

Source: https://www.w3.org/TR/trace-context/
"""

import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
# What a vendor keeps in it is dropped beyond what the standard asks to be passed on.
MAX_TRACESTATE = 512

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(rb"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of somebody's trace, from which what follows descends."""

    traceparent: str
    tracestate: str = ""

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers of a record that carries it."""
        parent = (TRACEPARENT, self.traceparent.encode())
        if not self.tracestate:
            return (parent,)
        return (parent, (TRACESTATE, self.tracestate.encode()))

    @property
    def trace_id(self) -> str:
        """The trace's ID: 32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """The span's ID: 16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def flags(self) -> int:
        """The trace flags: bit 0 says that the trace is sampled."""
        return int(self.traceparent[53:], 16)


def trace_of(traceparent: bytes | None, tracestate: bytes | None) -> TraceContext | None:
    """Return the context in a record's headers; None where there is none, or none that is valid.

    As the standard asks: what is wrong is left out, and never makes a message fail.
    """
    if traceparent is None or not _PARENT.fullmatch(traceparent):
        return None
    state = tracestate or b""
    if len(state) > MAX_TRACESTATE or not _STATE.fullmatch(state):
        state = b""
    return TraceContext(traceparent.decode(), state.decode())
