"""When the records of a partition were appended, by their offsets."""

from bisect import bisect_left

# Twice as many are held at most: a minute of the busiest partition, as each millisecond is a point.
KEPT = 60_000


class Places:
    """Remembers offsets and times; between two that it knows time is taken to go on evenly.

    Both ends of each run of records that bear one time (a batch has one) are points, so what was
    read is exact; what was passed over lies between two of them.
    """

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._times: list[int] = []

    def add(self, offset: int, at_ms: int) -> None:
        """Remember a record that lies behind all others."""
        offsets, times = self._offsets, self._times
        if len(times) > 1 and times[-1] == times[-2] == at_ms:
            # The same run, longer.
            offsets[-1] = offset
            return
        offsets.append(offset)
        times.append(at_ms)
        if len(offsets) > 2 * KEPT:
            del offsets[:KEPT], times[:KEPT]

    def at(self, offset: int) -> int | None:
        """Return when the record was appended (ms since 1970); None: not within what was read."""
        offsets, times = self._offsets, self._times
        after = bisect_left(offsets, offset)
        if after == len(offsets):
            return None
        if offsets[after] == offset:
            return times[after]
        if after == 0:
            return None
        share = (offset - offsets[after - 1]) / (offsets[after] - offsets[after - 1])
        return round(times[after - 1] + share * (times[after] - times[after - 1]))
