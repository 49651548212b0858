"""Records whose header names are not UTF-8: read like any other."""

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from transport.header_names import _Records


class Latin1(str):
    __slots__ = ()

    def encode(self, *_):
        return super().encode("latin-1")


def batch(*headers, codec=0):
    builder = _DefaultRecordBatchBuilderPy(2, codec, 1, 7, 3, 0, 1024)
    for offset, header in enumerate(headers):
        builder.append(offset, 1000 + offset, key=b"k", value=b"v", headers=header)
    return bytes(builder.build())


def read(records):
    found = []
    while records.has_next():
        part = records.next_batch()
        assert part.validate_crc()
        assert (part.producer_id, part.is_transactional, part.is_control_batch) == (7, True, False)
        found += [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in part]
    return found


GOOD, ODD, NONE = [("a", b"1"), ("é", None)], [("b", b""), (Latin1("größe"), b"2")], []


@pytest.mark.parametrize("codec", [0, 1])
def test_a_record_with_an_odd_header_name_is_read_with_those_around_it(codec):
    data = batch(NONE, ODD, GOOD, codec=codec) + batch(GOOD)
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(data))
    assert [headers for *_, headers in read(_Records(data))] == [
        NONE,
        [("b", b""), ("gr\\xf6\\xdfe", b"2")],
        GOOD,
        GOOD,
    ]


def test_other_records_are_read_as_ever():
    data = batch(GOOD, NONE) + batch(NONE)
    assert read(_Records(data)) == read(MemoryRecords(data))


def test_a_batch_that_came_in_part_is_left():
    data = batch(GOOD)
    records = _Records(data + data[:-1])
    assert len(read(records)) == 1
    assert records.size_in_bytes() == len(data) * 2 - 1
