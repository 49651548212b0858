"""How Baton's processes log: lines on stderr."""

import logging
import os
import sys


def configure(*noisy: str) -> None:
    """Log to stderr from BATON_LOG_LEVEL (INFO) up; from the ``noisy`` loggers only warnings."""
    logging.basicConfig(
        level=os.environ.get("BATON_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for name in ("aiokafka", *noisy):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A broker that verifies a transaction answers NOT_ENOUGH_REPLICAS for a moment, and is asked
    # again: several times a second, and nothing an operator could act on.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
