"""Times: RFC 3339 UTC on the wire, epoch milliseconds in Kafka."""

from datetime import UTC, datetime

# The end of the year 9999: RFC 3339 can write no later one.
LAST_MS = 253_402_300_799_999


def rfc3339(epoch_ms: int) -> str:
    """Return ``epoch_ms`` (milliseconds since 1970) as RFC 3339 UTC, to the millisecond.

    What lies before 1970 or after 9999 is written as that bound.
    """
    epoch_ms = min(max(epoch_ms, 0), LAST_MS)
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


def epoch_ms(moment: datetime) -> int:
    """Return an aware ``moment`` as milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
