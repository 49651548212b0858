"""Where a partition stands, as its committed offset and the metadata say."""

import hypothesis.strategies as st
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given

from scoring.owed import MAX_CHARS, encode
from scoring.places import Place

# The broker's offset.metadata.max.bytes.
BROKER_TAKES = 4096
HOLDERS = st.sampled_from(["", "0123456789abcdef0123456789abcdef"])


@given(st.integers(0, 2**62), st.frozensets(st.integers(0, 20_000), max_size=50), HOLDERS)
def test_what_is_committed_is_read_again(offset, owed, holder):
    place = Place(offset, owed, holder)
    assert Place.read(place.written()) == place


def test_metadata_of_another_program_says_nothing():
    for metadata in ("", "committed by hand", "by2:x owed2:1"):
        assert Place.read(OffsetAndMetadata(7, metadata)) == Place(7)


def test_a_place_of_nobody_that_owes_nothing_has_no_metadata():
    assert Place(7).written() == OffsetAndMetadata(7, "")


def test_the_largest_metadata_fit_into_the_brokers_limit():
    holder = Place(7, holder="f" * 32).written().metadata
    assert len(holder) + 1 + MAX_CHARS <= BROKER_TAKES
    assert encode([]) == ""
