"""
Histories of a store with lost answers, each replayable by its seed, and what was truly saved.

The store saves late or in part, alters texts, and gives ids out of order; other people write to the same customers and
edit; readings fail. Whatever the caller's guarantee and the assumptions do not rule out happens.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from operator import attrgetter

from attrs import define, evolve, field, frozen

from neto_async.models import StoredCustomer, StoredCustomerLog
from neto_async.reconciling.evidence import (
    AnsweredCall,
    Doubt,
    DoubtfulCall,
    Evidence,
    KnownLog,
    Reading,
    Settled,
)
from neto_async.reconciling.verdicts import reconcile
from neto_async.reconciling.windows import ids_ascend, windows_of

SETTLE_AFTER = 100.0
CUSTOMERS = ("jane", "omar")
USERNAMES = (*CUSTOMERS, *CUSTOMERS, "Jane", "nobody", None)
NOTES = (
    "called",
    "called",
    "called ",
    "called  back",
    "called back",
    "called\nback",
    "<b>called</b>",
    "café",
    "called about the late order",
    "wants a refund & an apology",
    None,
)
STATUSES = ("Recontacting", "Completed", None)
FATES = ("answered", "answered", "answered", "saved", "saved", "lost", "lost", "partly", "late", "killed")


@frozen(kw_only=True)
class Mode:
    """What the caller says and does."""

    sole_writer: bool
    marker: bool
    keeps_guarantee: bool = True
    calm: bool = False
    """A plain import: texts that differ, a store that keeps them, customers that exist, readings that come whole."""

    def __str__(self):
        switches = [name for name, is_so in (("sole writer", self.sole_writer), ("marker", self.marker)) if is_so]
        return " and ".join(switches) or "neither"


MODES = tuple(Mode(sole_writer=sole_writer, marker=marker) for sole_writer in (False, True) for marker in (False, True))


@define(kw_only=True)
class Saved:
    """A log in the store, with the key (row, call) of the record that it came from, or None."""

    log_id: int
    at: float
    customer: str
    fields: dict
    origin: tuple | None = None


@define(kw_only=True)
class History:
    """What this side knows, and the truth."""

    evidence: Evidence
    truth: dict
    fates: dict
    is_ordered: bool = field()


def make_store(rng):
    """Make the function that a store stores Notes by: most give them back as they were sent."""
    changes = [lambda text: text]
    if rng.random() < 0.5:
        changes = rng.choices(
            (
                str.strip,
                lambda text: re.sub(r"<[^>]*>", "", text),
                lambda text: text.replace("\n", "\r\n"),
                lambda text: text[:12],
                lambda text: text.replace("&", "&amp;").replace("<", "&lt;"),
                lambda text: text.encode().decode("latin-1"),
                lambda text: re.sub(" +", " ", text),
                lambda text: text.partition("é")[0],
                lambda text: text.replace("é", "e"),
            ),
            k=rng.randint(1, 2),
        )

    def alter(text):
        for change in changes:
            text = change(text)
        return text

    return alter


class Ids:
    """Ids that ascend with gaps, or, over several servers, only on each of them."""

    def __init__(self, rng, *, ordered):
        self.rng = rng
        self.servers = [100] if ordered else [100, 120, 300]

    def take(self):
        server = self.rng.randrange(len(self.servers))
        self.servers[server] += self.rng.choice((1, 1, 2))
        return self.servers[server]


def make_history(seed, mode):
    """Draw a history."""
    rng = random.Random(seed)
    ordered = mode.calm or rng.random() < 0.8
    alter = str if mode.calm else make_store(rng)
    tells_local_time = rng.random() < 0.5
    calls = _calls(rng, mode)
    ours = {alter(sent["Notes"]) for call in calls for _, sent in call["rows"] if "Notes" in sent}

    # Each save is (time, order, username, sent, origin); ids are given in the order of time.
    saves = []
    for call in calls:
        fate, began, ended = call["fate"], call["began"], call["ended"]
        at = rng.uniform(began, ended)
        if fate == "late":
            at = rng.uniform(ended, ended + SETTLE_AFTER / 2)
        for place, (row, sent) in enumerate(call["rows"]):
            if fate != "lost" and (fate != "partly" or rng.random() < 0.5):
                saves.append((at, place, sent, (row, call["number"])))
    end = max(call["ended"] for call in calls)
    # Others write in an earlier life, before the first call, and meanwhile.
    forbidden = ours if mode.sole_writer and mode.keeps_guarantee else ()
    earlier, meanwhile = rng.randint(0, 3), rng.choice((0, 0, 1, 2, 4))
    saves += [(rng.uniform(-100, -1), 0, _somebodys(rng, calls), None) for _ in range(earlier)]
    saves += [(rng.uniform(-1, end + 50), 0, _somebodys(rng, calls, forbidden, alter), None) for _ in range(meanwhile)]
    ids = Ids(rng, ordered=ordered)
    logs = [
        Saved(
            log_id=ids.take(),
            at=at,
            customer=sent.get("Username", "").lower(),
            fields=_stored(sent, alter, tells_local_time),
            origin=origin,
        )
        for at, _, sent, origin in sorted(saves, key=lambda save: save[:2])
    ]
    truth = {log.origin: log.log_id for log in logs if log.origin}

    read_at = end + SETTLE_AFTER * (1 if mode.calm else rng.uniform(0, 2.5))
    again_at = read_at + rng.choice((1, 5, 60, 500))
    lag = rng.choice((0, 0, 0, SETTLE_AFTER / 3))
    _edit(rng, mode, [log for log in logs if log.at < read_at - lag])
    lacking = None if mode.calm else rng.choice((None, None, 0, 1))  # this reading lacks some logs without a sign
    readings = [
        _reading(rng, mode, rng.sample(logs, len(logs) * 9 // 10) if lacking == place else logs, at, lag)
        for place, at in enumerate((read_at, again_at))
    ]
    return History(
        evidence=_evidence(calls, truth, readings),
        truth=truth,
        fates={(row, call["number"]): call["fate"] for call in calls for row, _ in call["rows"]},
        is_ordered=ordered,
    )


def _calls(rng, mode):
    calls, row, began = [], 0, 0.0
    for number in range(rng.randint(2, 7)):
        began += rng.uniform(0.1, 40)
        rows = []
        for _ in range(rng.randint(1, 4)):
            rows.append((row, _record(rng, mode, row)))
            row += 1
        if not mode.calm and rng.random() < 0.3:  # the same row twice in a file
            rows.append((row, _record(rng, mode, row) if mode.marker else dict(rows[-1][1])))
            row += 1
        if not mode.calm and calls and rng.random() < 0.1:  # a row in doubt that was sent again without looking
            rows.insert(0, calls[-1]["rows"][-1])
        ended = began + rng.uniform(0.1, 60)  # may overlap with the next
        calls.append({"number": number, "began": began, "ended": ended, "rows": rows, "fate": rng.choice(FATES)})
        if number == 0 and (mode.calm or rng.random() < 0.8):  # an import goes on when its first call was answered
            calls[0]["fate"] = "answered"
            began = ended
    return calls


def _record(rng, mode=None, row=None):
    """Draw a record; without a row it is somebody else's."""
    is_calm = mode is not None and mode.calm
    notes = rng.choice(NOTES[:5] if is_calm else NOTES)
    if is_calm and rng.random() < 0.9:
        notes = f"called about order {row:03}"
    if mode is not None and mode.marker:
        notes = f"{notes or 'called'} [#{row:03}]"
    sent = {
        "FollowUpType": rng.choice("xy"),
        "Username": rng.choice(CUSTOMERS if is_calm else USERNAMES),
        "LastContacted": rng.choice(("2026-11-05 01:00:00", "2026-11-06 02:00:00")),
        "DateRequiredFollowUp": rng.choice(("2026-12-01 00:00:00", None)),
        "Status": rng.choice(STATUSES),
        "Notes": notes,
    }
    return {name: text for name, text in sent.items() if text is not None}


def _somebodys(rng, calls, forbidden=(), alter=str):
    """Draw a log that somebody else writes, often with the text of one of our records."""
    sent = _record(rng)
    if rng.random() < 0.5:
        _, sent = rng.choice(rng.choice(calls)["rows"])
        sent = {name: re.sub(r" \[#.*", "", text) for name, text in sent.items()}
    while alter(sent.get("Notes", "")) in forbidden:
        sent["Notes"] = rng.choice((*filter(None, NOTES), "sent a parcel", "called   back"))
    return sent


def _stored(sent, alter, tells_local_time):
    contacted = sent["LastContacted"]
    local = contacted.replace(" 0", " 1")
    stored = {
        "Status": sent.get("Status", "Require Recontact"),
        "LastContacted": local if tells_local_time else contacted,
        "LastContactedLocal": local,
        "LastContactedUTC": contacted,
        "DateRequiredFollowUp": sent.get("DateRequiredFollowUp", "")[:10],
        "Notes": alter(sent.get("Notes", "")),
    }
    return {name: text for name, text in stored.items() if text}


def _edit(rng, mode, logs):
    """Edit some logs before they are read, as far as the caller's guarantee, and the marker's, allow."""
    for log in logs:
        if mode.sole_writer or rng.random() < (0.98 if mode.calm else 0.85):
            continue
        log.fields["Status"] = rng.choice(STATUSES[:2])
        notes = log.fields.get("Notes", "")
        log.fields["Notes"] = f"{notes} done" if mode.marker else rng.choice(("done", "called", f"{notes} done"))


def _evidence(calls, truth, readings):
    answered = [call for call in calls if call["fate"] == "answered"]
    doubtful = [call for call in calls if call["fate"] != "answered"]
    restarted = max(call["ended"] for call in calls)
    first, second = readings
    return Evidence(
        doubts=tuple(
            Doubt(row=row, call=call["number"], sent=sent, marker=_marker(sent))
            for call in doubtful
            for row, sent in call["rows"]
        ),
        calls=tuple(
            DoubtfulCall(
                number=call["number"],
                began=_order(call["began"]),
                left_at=restarted if call["fate"] == "killed" else call["ended"],
            )
            for call in doubtful
        ),
        answered=tuple(
            AnsweredCall(
                began=_order(call["began"]),
                answered=_order(call["ended"]),
                began_at=call["began"],
                lowest_id=min(truth[row, call["number"]] for row, _ in call["rows"]),
                highest_id=max(truth[row, call["number"]] for row, _ in call["rows"]),
            )
            for call in answered
        ),
        known=tuple(
            KnownLog(log_id=truth[row, call["number"]], sent=sent) for call in answered for row, sent in call["rows"]
        ),
        first=first,
        second=second,
    )


def _marker(sent):
    found = re.search(r"\[#\d+\]", sent.get("Notes", ""))
    return found and found[0]


def _order(moment):
    return int(moment * 1000)


def _reading(rng, mode, logs, at, lag):
    customers = [
        StoredCustomer(
            username=name,
            logs=tuple(
                StoredCustomerLog(log_id=log.log_id, fields=dict(log.fields))
                for log in rng.sample(logs, len(logs))
                if log.customer == name and log.at <= at - lag
            ),
        )
        for name in CUSTOMERS
    ]
    if mode.calm:
        return Reading(began_at=at, is_whole=True, customers=tuple(customers))
    if rng.random() < 0.05:  # a short page was all that came
        return Reading(began_at=at, is_whole=False, customers=tuple(customers[: rng.randint(0, 1)]))
    if rng.random() < 0.03:
        customers.append(evolve(customers[0], logs=()))
    if rng.random() < 0.03:
        customers.pop()
    return Reading(began_at=at, is_whole=True, customers=tuple(customers))


def judge(history, mode):
    """Reconcile, and give the false verdicts and, by the true fate, how many doubts were settled how."""
    windows = windows_of(history.evidence.calls, history.evidence.answered, SETTLE_AFTER)
    verdicts, _ = reconcile(history.evidence, windows, sole_writer=mode.sole_writer)
    truth = history.truth
    key = attrgetter("doubt.row", "doubt.call")
    false = []
    for verdict in verdicts:
        is_true = {
            Settled.ADDED: truth.get(key(verdict)) == verdict.log_id,
            Settled.NOT_SENT: key(verdict) not in truth,
            Settled.UNKNOWN: True,
        }[verdict.settled]
        # Of equal records of one call it matters how many were saved, under which ids, and not which.
        twins = [
            other
            for other in verdicts
            if (other.doubt.call, other.doubt.sent) == (verdict.doubt.call, verdict.doubt.sent)
        ]
        claimed = Counter(twin.log_id for twin in twins)
        if not is_true and claimed != Counter(truth.get(key(twin)) for twin in twins):
            false.append(verdict)
    counts = Counter((history.fates[key(verdict)], verdict.settled) for verdict in verdicts)
    return false, counts, verdicts


def is_within_the_assumptions(history):
    """Say whether ids ascend, or the known ones show that they do not."""
    return history.is_ordered or not ids_ascend(history.evidence.answered)
