"""When a model is tried no more, and when again."""

import pytest

from scoring.errors import ScoringError
from scoring.quarantine import DEATHS, FIRST_S, LONGEST_S, WITHIN_S, Quarantine


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quarantine(clock):
    return Quarantine(clock)


def test_a_model_that_was_overdue_is_refused_for_a_while_and_longer_each_time(quarantine, clock):
    quarantine.refuse("a")
    for spell in (FIRST_S, 2 * FIRST_S, 4 * FIRST_S):
        quarantine.overdue("a", "no answer within 10 s")
        with pytest.raises(ScoringError, match="no answer within 10 s") as refused:
            quarantine.refuse("a")
        assert refused.value.reason == "model_error"
        quarantine.refuse("another")
        clock.now += spell - 1
        with pytest.raises(ScoringError):
            quarantine.refuse("a")
        clock.now += 1
        quarantine.refuse("a")


def test_a_spell_has_an_end_and_a_good_model_a_clean_sheet(quarantine, clock):
    for _ in range(20):
        quarantine.overdue("a", "hangs")
    clock.now += LONGEST_S
    quarantine.refuse("a")
    clock.now += LONGEST_S + 1
    quarantine.refuse("a")
    quarantine.overdue("a", "hangs")
    clock.now += FIRST_S
    quarantine.refuse("a")


def test_only_one_that_dies_often_is_refused(quarantine, clock):
    for _ in range(3 * DEATHS):
        clock.now += WITHIN_S / (DEATHS - 2)
        quarantine.died("a", "killed by SIGSEGV")
        quarantine.refuse("a")
    for _ in range(DEATHS - 1):
        quarantine.died("a", "killed by SIGSEGV")
    with pytest.raises(ScoringError, match="SIGSEGV"):
        quarantine.refuse("a")
