"""How Baton's processes log: lines on stderr, for people or for machines."""

import json
import logging
import os
import sys
import time

from schemas import variables
from schemas.times import rfc3339

log = logging.getLogger(__name__)

# While a broker is away its clients say so twenty times a second: once in a while is enough. So for
# a collector of traces.
QUIET_S = 5.0
REPETITIVE = ("aiokafka", "opentelemetry")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TEXT = "text"
JSON = "json"
# What every record has; anything else came by ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(*noisy: str) -> None:
    """Log to stderr from BATON_LOG_LEVEL up; from the ``noisy`` loggers only warnings.

    Raises SettingsError where BATON_LOG_LEVEL or BATON_LOG_FORMAT is none.
    """
    level = variables.LOG_LEVEL.choice(os.environ, *LEVELS)
    form = variables.LOG_FORMAT.choice(os.environ, TEXT, JSON)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    lines = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if form == JSON else lines)
    logging.basicConfig(level=level, handlers=[handler])
    for name in ("aiokafka", *noisy):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A broker that verifies a transaction answers NOT_ENOUGH_REPLICAS for a moment, and is asked
    # again: several times a second, and nothing an operator could act on.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    for warning in variables.unknown(os.environ):
        log.warning("%s", warning)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever ``extra`` brought.

    An exception's traceback is one string under ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``."""
        line = {
            "time": rfc3339(round(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


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
        if not record.name.startswith(REPETITIVE):
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
