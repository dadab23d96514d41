"""Bodies within their limit, each encoded once."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Network, bulk

from neto_async import CustomerLog
from neto_async.sending.sizes import Sizes
from neto_async.wire import Action


def _log(length: int, text: str = "x") -> CustomerLog:
    return CustomerLog(notes=text * length)


@pytest.fixture
def encoded(monkeypatch):
    """The number of records of each body that was encoded."""
    counts: list[int] = []
    encode = Action.encode

    def counting(action: Action, logs: Any, *more: Any) -> bytes:
        counts.append(len(logs))
        return encode(action, logs, *more)

    monkeypatch.setattr(Action, "encode", counting)
    return counts


@pytest.mark.parametrize("text", ["x", "ü", '"'])
def test_bodies_that_fit_are_encoded_once(encoded, text):
    """A batch within the limit is encoded once, whatever its letters take."""
    report = bulk(Network(), [_log(100, text)] * 1001, max_batch_bytes=1_000_000)

    assert (1001, [1, *[100] * 10]) == (len(report.added), encoded)


@pytest.mark.parametrize("text", ["x", "ü", '"'])
def test_bodies_over_the_limit_teach_the_next(encoded, text):
    """After the first body that was too long the next are cut before they are encoded, and still nearly full."""
    network = Network()

    report = bulk(network, [_log(1000 + number % 50, text) for number in range(1001)], max_batch_bytes=25_000)

    assert 1001 == len(report.added)
    assert len(encoded) <= network.tried + 2
    assert sum(encoded) <= 1001 + 200
    bytes_a_record = 25_000 / max(len(sent.notes) for sent in network.sent)
    assert 1001 * bytes_a_record / 25_000 / network.tried >= 0.9


def test_short_records_after_long_ones_fill_their_calls():
    """What long or many-byte records taught is forgotten when short ones come."""
    network = Network()
    records = [*[_log(900, "☃")] * 101, *[_log(10)] * 1000]

    bulk(network, records, max_batch_bytes=30_000)

    assert [100] * 5 == [len(sent.notes) for sent in network.sent[-6:-1]]


def test_one_record_that_can_not_be_encoded_leaves_its_neighbours_alone(encoded):
    """A zone that raises makes its own log invalid, and all others are added."""

    class Zone(tzinfo):
        broken = False

        def utcoffset(self, when: Any) -> Any:
            if self.broken:
                raise ValueError("CANARY")
            return timedelta(0)

    zone = Zone()
    records = [_log(10)] * 101
    records[50] = CustomerLog(last_contacted=datetime(2026, 1, 1, tzinfo=zone), notes="x")
    zone.broken = True

    report = bulk(Network(), records)

    assert (100, [50]) == (len(report.added), [outcome.index for outcome in report.invalid])


def test_a_body_that_fits_teaches_only_once_one_did_not():
    """Foretelling begins with the first body that was too long, and from then on each body is its measure."""
    sizes = Sizes(10_000)
    plain = [_log(900)] * 9

    sizes.note([_log(900, "☃")], 9_999)
    assert 9 == sizes.fitting(plain)
    sizes.cut([_log(900, "☃")] * 9, 28_000)
    assert 3 == sizes.fitting(plain)
    sizes.note(plain[:3], 3_000)
    assert (9, 10) == (sizes.fitting(plain), sizes.fitting([_log(900)] * 10))
    assert 9 == sizes.fitting([_log(900)] * 11)


def test_what_the_store_finds_too_large_halves_the_limit():
    """The limit sinks to half of what was refused, never below a byte, and never rises again."""
    sizes = Sizes(1_000)
    seen = []
    for too_large in (5_000, 101, 900, 1):
        sizes.lower(too_large)
        seen.append(sizes.limit)

    assert [1_000, 50, 50, 1] == seen


RECORDS = st.lists(st.integers(1, 3000).map(_log), min_size=1, max_size=40)


@given(records=RECORDS, limit=st.integers(1, 30_000), learned=st.integers(1, 100_000))
def test_a_cut_keeps_something_and_gives_something_back(records, limit, learned):
    """A cut keeps at least one record; of several whose body was too long it keeps less than all."""
    sizes = Sizes(limit)
    if len(records) > 1:
        assert 1 <= sizes.cut(records, None) < len(records)
        assert 1 <= sizes.cut(records, limit + learned) < len(records)

    assert 1 <= sizes.fitting(records) <= len(records)
