"""
What does encoding a log cost? Ours in JSON and XML, beside the same bodies made by hand.

Rounds are interleaved, so that a slow moment of the machine hits all alike; CPU time of the process, median of the
rounds. May import: wire and models. Run: ``python benchmarks/encoding.py [rounds]``.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from xml.sax.saxutils import escape

from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.settings import WireFormat
from neto_async.wire import VENDOR_NAMES, encode_batch

SEED = 20261105
BATCH = 100
DEFAULT_ROUNDS = 60
PHRASES = "rang about the order & asked for a quote, wants < 40 cm, café, kōwhai, back on Monday, paid, refund due"


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_ROUNDS
    logs = make_logs(BATCH)
    contenders: dict[str, Callable[[Sequence[CustomerLog]], bytes]] = {
        "JSON, neto_async": lambda logs: encode_batch(logs, WireFormat.JSON),
        "JSON, dict by hand": json_by_hand,
        "XML, neto_async": lambda logs: encode_batch(logs, WireFormat.XML),
        "XML, joined by hand": xml_by_hand,
    }
    check(contenders, logs)
    taken: dict[str, list[int]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, encode in contenders.items():
            began = time.process_time_ns()
            encode(logs)
            taken[name].append(time.process_time_ns() - began)
    print(f"{BATCH} logs a call, seed {SEED}, {rounds} rounds, Python {sys.version.split()[0]}\n")
    print(f"{'':22}{'µs a log':>10}{'10th':>8}{'90th':>8}{'bytes a log':>14}")
    for name, nanoseconds in taken.items():
        tenths = [value / BATCH / 1000 for value in statistics.quantiles(nanoseconds, n=10)]
        size = len(contenders[name](logs)) / BATCH
        print(f"{name:22}{tenths[4]:10.1f}{tenths[0]:8.1f}{tenths[8]:8.1f}{size:14.0f}")


def check(contenders: dict[str, Callable[[Sequence[CustomerLog]], bytes]], logs: Sequence[CustomerLog]) -> None:
    """Stop where two of a format don't make the same body: their times could not be compared."""
    ours_json, by_hand_json, ours_xml, by_hand_xml = (encode(logs) for encode in contenders.values())
    if ours_json != by_hand_json or ours_xml != by_hand_xml:
        sys.exit("the bodies differ, so their times can't be compared")


def make_logs(count: int) -> list[CustomerLog]:
    """Make logs of all eight fields, with notes of 10 to 60 words."""
    rng = random.Random(SEED)
    first = datetime(2026, 1, 5, 9, 0, tzinfo=timezone.utc)
    return [
        CustomerLog(
            allocated_to=rng.choice(["Priya Raman", "Tom Hanlon", "Aroha Ngata"]),
            follow_up_type=rng.choice(["Phone", "Email", "In store"]),
            username=f"customer{position}",
            customer_name=rng.choice(["Bellbird Landscapes", "Hēmi Parata", "D'Arcy & Sons"]),
            last_contacted=first + timedelta(minutes=rng.randrange(400_000)),
            date_required_follow_up=date(2026, 11, 1) + timedelta(days=rng.randrange(60)),
            status=rng.choice(list(CustomerLogStatus)),
            notes=" ".join(rng.choices(PHRASES.split(), k=rng.randrange(10, 60))),
        )
        for position in range(count)
    ]


def as_texts(log: CustomerLog) -> dict[str, str]:
    """Give the eight fields as the vendor's names and texts; every log here has all of them."""
    contacted, follow_up = log.last_contacted, log.date_required_follow_up
    texts = {vendor: getattr(log, name) for name, vendor in VENDOR_NAMES.items()}
    if contacted is not None and follow_up is not None:
        texts["LastContacted"] = f"{contacted:%Y-%m-%d %H:%M:%S}"
        texts["DateRequiredFollowUp"] = f"{follow_up:%Y-%m-%d 00:00:00}"
    return texts


def json_by_hand(logs: Sequence[CustomerLog]) -> bytes:
    """Encode as a program would that has only this one call to make."""
    document = {"CustomerLogs": {"CustomerLog": [as_texts(log) for log in logs]}}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def xml_by_hand(logs: Sequence[CustomerLog]) -> bytes:
    """Join the elements as strings, with nothing but the escaping."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>\n<AddCustomerLog><CustomerLogs>']
    for log in logs:
        fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in as_texts(log).items())
        parts.append(f"<CustomerLog>{fields}</CustomerLog>")
    parts.append("</CustomerLogs></AddCustomerLog>")
    return "".join(parts).encode()


if __name__ == "__main__":
    main()
