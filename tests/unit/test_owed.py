"""The commit metadata that says which requests are still owed an answer."""

import hypothesis.strategies as st
from hypothesis import given

from scoring import owed

OFFSETS = st.integers(0, 2**62).flatmap(
    lambda first: st.sets(st.integers(first, first + 20_000), max_size=400)
)


@given(OFFSETS)
def test_what_is_written_is_read_again(offsets):
    assert owed.decode(owed.encode(offsets)) == offsets


def test_nothing_owed_is_no_text():
    assert owed.encode([]) == ""


def test_metadata_of_another_program_owes_nothing():
    assert owed.decode("committed by hand") == frozenset()
    assert owed.decode("") == frozenset()


def test_a_whole_batch_fits_into_the_brokers_limit():
    assert len(owed.encode(range(10**12, 10**12 + 16_000))) < 100
    # Every second one, as where two deployments share a partition.
    assert len(owed.encode(range(0, 16_000, 2))) < owed.MAX_CHARS
