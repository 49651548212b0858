"""How Baton's processes log: lines on stderr."""

import logging
import os
import sys
import time

from schemas import variables

log = logging.getLogger(__name__)

# While a broker is away its clients say so twenty times a second: once in a while is enough.
QUIET_S = 5.0


def configure(*noisy: str) -> None:
    """Log to stderr from BATON_LOG_LEVEL (INFO) up; from the ``noisy`` loggers only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    logging.basicConfig(
        level=variables.LOG_LEVEL.text(os.environ),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        handlers=[handler],
    )
    for name in ("aiokafka", *noisy):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A broker that verifies a transaction answers NOT_ENOUGH_REPLICAS for a moment, and is asked
    # again: several times a second, and nothing an operator could act on.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    for warning in variables.unknown(os.environ):
        log.warning("%s", warning)


class Repeats(logging.Filter):
    """Lets a library's warning through once in QUIET_S, and says how many like it were left out.

    Alike is what the same logger says with the same words, whatever it fills in. Baton's own lines
    all pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be written."""
        if not record.name.startswith("aiokafka"):
            return True
        key = (record.name, str(record.msg))
        now = time.monotonic()
        last, count = self._last.get(key, (-QUIET_S, 0))
        if now - last < QUIET_S:
            self._last[key] = (last, count + 1)
            return False
        self._last[key] = (now, 0)
        if count:
            record.msg = f"{record.msg} ({count} more like it)"
        return True
