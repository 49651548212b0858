"""How Baton's processes end when they cannot go on, or do not stop in time."""

import logging
import os
import signal
import sys
import threading
from typing import NoReturn

from schemas.errors import SettingsError, StoreError, TopicError

log = logging.getLogger(__name__)

EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h: to be started again
EXIT_CONFIG = 78  # EX_CONFIG: what is wrong must be mended first
# Below what supervisors wait before they kill (client.supervisor: 15 s, docker: 10 s by default).
STOP_TIMEOUT_S = 9.0


def end_process(name: str, error: BaseException) -> NoReturn:
    """End the process ``name`` at once: status 78 and one line for a topic, else the log and 70.

    What it had not finished its successor takes up from the log.
    """
    if isinstance(error, TopicError):
        sys.stderr.write(f"baton {name}: {error}\n")
        status = EXIT_CONFIG
    else:
        log.critical("the %s cannot go on and ends, to be restarted", name, exc_info=error)
        status = EXIT_FAILED
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def end_at_start(name: str, error: Exception) -> NoReturn:
    """End the process ``name``, which cannot start: one line, and status 78 for what is set wrong.

    Anything else, a broker that is away or went away meanwhile, is status 70: to be tried again.
    """
    sys.stderr.write(f"baton {name}: {error or repr(error)}\n")
    wrong = isinstance(error, SettingsError | TopicError | StoreError)
    sys.exit(EXIT_CONFIG if wrong else EXIT_FAILED)


def end_on_signal() -> None:
    """Let SIGTERM and SIGINT end the process with status 0, until another handler takes over.

    For the start, while there is nothing yet that would have to end well.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def stop_in_time(name: str, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """From now on ``name`` is stopping: end the process after ``timeout_s`` if it still runs.

    A client of Kafka may wait for its broker for ever. What is stopped is always safe to kill.
    """
    error = TimeoutError(f"not stopped after {timeout_s:.0f} s: is the broker away?")
    timer = threading.Timer(timeout_s, end_process, (name, error))
    timer.daemon = True
    timer.start()
