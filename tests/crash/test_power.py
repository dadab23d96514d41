"""
The journal when the power goes: what is on the disk at the instant a call leaves, and after any instant at all.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from neto_async import Added, AsyncNetoClient, ConfigurationError
from neto_async.journals.protocol import End, Intent, Known, RowState
from neto_async.journals.sqlite import SqliteJournal
from neto_async.sending.engine import Engine
from neto_async.sending.exchange import HttpReply, OutgoingBody

sys.path.append(str(Path(__file__).parent))
from power import Disk, Mark, NoLibrary, Step, Synced, Written, noted  # tests are no packages

STORE = "http://localhost"
NAME = "import.db"


@pytest.fixture
def note() -> Callable[..., Any]:
    """Note what SQLite does to files, or say why that can't be done here."""
    try:
        with noted([]):
            return noted
    except NoLibrary as reason:
        pytest.skip(f"the order of syncs can't be seen: {reason}")


def said_by(files: dict[str, bytes], folder: Path) -> tuple[str, list[Known]]:
    """Open what a disk holds as a journal; give its identity and what it knows."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    journal = SqliteJournal(folder / NAME)
    journal.open(STORE)
    try:
        return journal.identity, list(journal.known())
    finally:
        journal.close()


# -- the order of things ----------------------------------------------------------------------------------------


@define
class Wire:
    """Notes when calls leave and when they are answered; the first answers are the script's."""

    steps: list[Step]
    script: deque[Callable[[list[int]], HttpReply]]
    saved: list[str] = field(factory=list)

    async def call(self, body: OutgoingBody) -> HttpReply:
        content = b"".join([piece async for piece in body])
        notes = [log["Notes"] for log in json.loads(content)["CustomerLogs"]["CustomerLog"]]
        self.steps.append(Mark(("left", tuple(notes))))
        await asyncio.sleep(0)
        reply = self.script.popleft() if self.script else saves
        ids = list(range(len(self.saved) + 1, len(self.saved) + 1 + len(notes)))
        if reply is saves:
            self.saved += notes
        self.steps.append(Mark(("replied", tuple(notes))))
        return reply(ids)

    async def aclose(self) -> None:
        """Nothing is open."""


def answer(document: object, status: int = 200, **headers: str) -> HttpReply:
    return HttpReply(status=status, headers=headers, body=json.dumps(document).encode())


def saves(ids: list[int]) -> HttpReply:
    return answer({"Ack": "Success", "CustomerLog": [{"LogID": log_id} for log_id in ids]})


def too_many(ids: list[int]) -> HttpReply:
    return answer({}, 429, **{"retry-after": "0"})


def refuses(ids: list[int]) -> HttpReply:
    return answer({"Ack": "Error", "Messages": {"Error": {"Message": "bad", "SeverityCode": "Error"}}})


def breaks(ids: list[int]) -> HttpReply:
    return answer({}, 503)


async def bring(steps: list[Step], path: Path, *script: Callable[[list[int]], HttpReply]) -> None:
    """Import twelve rows with a journal, noting each outcome as it comes."""
    async with AsyncNetoClient(STORE, api_key="key", batch_size=3, requests_per_minute=None) as neto:
        wire = Wire(steps, deque(script))
        neto._engine = Engine(neto._settings, wire, jitter=lambda: 0.0)
        rows = [{"Notes": str(number)} for number in range(12)]
        async with neto.import_customer_logs(rows, journal=path) as run:
            async for outcome in run:
                steps += [Mark(("reported", outcome))]


def instants(steps: list[Step], what: str) -> Iterator[tuple[Any, dict[str, bytes]]]:
    """Give each mark of a kind, with what stood on the disk for certain at that instant."""
    disk = Disk({NAME: b""})
    for step in steps:
        if isinstance(step, Mark) and step.said[0] == what:
            yield step.said[1], disk.after_a_cut(None)
        disk.follow([step])


async def test_an_intent_is_synced_before_its_first_byte(note: Any, tmp_path: Path):
    """At the instant a call leaves, a disk that kept nothing but what was synced says that its rows are in doubt."""
    steps: list[Step] = []
    with note(steps):
        await bring(steps, tmp_path / NAME, saves, too_many, refuses, refuses, breaks)

    left = list(instants(steps, "left"))
    assert len(left) > 6
    for number, (notes, files) in enumerate(left):
        _, rows = said_by(files, tmp_path / str(number))
        doubted = {str(row.position) for row in rows if row.state is RowState.UNKNOWN}
        assert set(notes) <= doubted


async def test_an_outcome_is_synced_before_it_is_reported(note: Any, tmp_path: Path):
    """At the instant a run says what became of a row, the same disk says so too."""
    steps: list[Step] = []
    with note(steps):
        await bring(steps, tmp_path / NAME, saves, breaks, refuses, refuses, refuses, refuses)

    reported = list(instants(steps, "reported"))
    assert 12 == len(reported)
    states = {"Added": RowState.ADDED, "Rejected": RowState.REJECTED, "Unknown": RowState.UNKNOWN}
    assert set(states) == {type(outcome).__name__ for outcome, _ in reported}
    for number, (outcome, files) in enumerate(reported):
        rows = {row.position: row for row in said_by(files, tmp_path / str(number))[1]}
        assert states[type(outcome).__name__] == rows[outcome.index].state
        assert not isinstance(outcome, Added) or outcome.log_id == rows[outcome.index].log_id


async def test_what_was_not_saved_is_withdrawn_before_it_goes_again(note: Any, tmp_path: Path):
    """At the instant a record leaves again after a 429 and a refusal, its earlier calls are known to have ended."""
    steps: list[Step] = []
    with note(steps):
        await bring(steps, tmp_path / NAME, saves, too_many, refuses)

    for number, (notes, files) in enumerate(instants(steps, "left")):
        (tmp_path / str(number)).mkdir()
        for name, content in files.items():
            (tmp_path / str(number) / name).write_bytes(content)
        journal = SqliteJournal(tmp_path / str(number) / NAME)
        journal.open(STORE)
        open_calls = [
            call.rows
            for call in journal._past(journal._head.sequence)
            if any(row.state is RowState.UNKNOWN for row in call.rows)
        ]
        journal.close()
        carrying = [rows for rows in open_calls if str(rows[0].position) in notes]
        assert 1 == len(carrying), "the call that leaves, and no earlier one of the same rows"


# -- after a cut ------------------------------------------------------------------------------------------------


ENDS = [state for state in RowState if state is not RowState.ABSENT]


def settled(draw: random.Random) -> list[Known]:
    """Draw what might be proven of rows."""
    return [
        Known(position, position.to_bytes(16, "big"), state, draw.randrange(1000) if state is RowState.ADDED else 0)
        for position in draw.sample(range(400), draw.choice([0, 1, 50]))
        for state in [draw.choice([RowState.ADDED, RowState.ABSENT])]
    ]


def entries_of(draw: random.Random, under_way: dict[int, list[int]], numbers: Iterator[int]) -> list[Any]:
    """Draw what a run might write next."""
    entries: list[Any] = []
    for _ in range(draw.randint(1, 3)):
        if under_way and draw.random() < 0.5:
            call = draw.choice(list(under_way))
            states = [(draw.choice(ENDS), draw.randrange(1000)) for _ in under_way.pop(call)]
            entries.append(End(call=call, states=tuple(states)))
        else:
            call = next(numbers)
            under_way[call] = draw.sample(range(400), draw.choice([1, 4, 150]))
            rows = tuple((position, position.to_bytes(16, "big")) for position in under_way[call])
            entries.append(Intent(call=call, rows=rows))
    return entries


def live(path: Path, steps: list[Step], draw: random.Random) -> None:
    """Open a journal and write to it; after each commit mark what it says."""
    numbers = iter(range(1000))
    under_way: dict[int, list[int]] = {}
    journal = SqliteJournal(path)
    journal.open(STORE)
    steps.append(Mark(("committed", (journal.identity, list(journal.known())))))
    for _ in range(draw.randint(1, 6)):
        if draw.random() < 0.3:
            journal.settle(settled(draw))
        else:
            journal.write(entries_of(draw, under_way, numbers))
        steps.append(Mark(("committed", (journal.identity, list(journal.known())))))
    journal.close()


def survive(note: Any, folder: Path, seed: int) -> int:
    """Live, lose power at any instant, and see what is left, up to three times over; give the number of cuts."""
    draw = random.Random(seed)
    files: dict[str, bytes] = {NAME: b""}
    before: list[Any] = []  # what it may say before this life's first commit
    for life in range(3):
        home = folder / f"{seed}-{life}"
        home.mkdir()
        for name, content in files.items():
            (home / name).write_bytes(content)
        steps: list[Step] = []
        with note(steps):
            live(home / NAME, steps, draw)
        cut = draw.randrange(len(steps) + 1)
        said = [*before, *(step.said[1] for step in steps if isinstance(step, Mark))]
        returned = sum(isinstance(step, Mark) for step in steps[:cut])
        disk = Disk(files)
        disk.follow(steps[:cut])
        files = disk.after_a_cut(draw)
        files.setdefault(NAME, b"")
        found = said_by(files, folder / f"{seed}-{life}-after")
        last = len(before) + returned - 1
        if last >= 0:
            assert found in said[last : last + 2], (seed, life)
            before = [found]
        else:
            # Not even the opening had returned: a new journal, or the one that was being made.
            assert [] == found[1], (seed, life)
            before = [] if found[0] != said[0][0] else [found]
    return life + 1


@pytest.mark.parametrize("seed", range(12))
def test_power_cuts(note: Any, tmp_path: Path, seed: int):
    """After a cut at any instant the journal says all that it had committed, or one commit more; never a mix."""
    assert 3 == survive(note, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_power_cuts(note: Any, tmp_path: Path):
    """The same at three thousand instants."""
    start = random.SystemRandom().randrange(2**32)
    for seed in range(start, start + 1000):
        survive(note, tmp_path, seed)


class Unsynced(SqliteJournal):
    """A journal that leaves syncing to the system."""

    def _connect(self, *, create: bool) -> None:
        super()._connect(create=create)
        assert self._connection is not None
        self._connection.execute("PRAGMA synchronous=OFF")


def test_the_cuts_would_notice(note: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A journal that does not sync fails these tests."""
    monkeypatch.setattr(sys.modules[__name__], "SqliteJournal", Unsynced)

    failed = 0
    for seed in range(12):
        try:
            survive(note, tmp_path, seed)
        except (AssertionError, ConfigurationError):
            failed += 1
    assert failed > 3


def test_notes_say_what_happened(note: Any, tmp_path: Path):
    """What was noted makes the very file that is there, and its bytes came before its sync."""
    steps: list[Step] = []
    with note(steps):
        live(tmp_path / NAME, steps, random.Random(1))
    disk = Disk({NAME: b""})
    disk.follow(steps)

    assert (tmp_path / NAME).read_bytes() == disk.after_a_cut(None)[NAME]
    of_the_file = [type(step) for step in steps if not isinstance(step, Mark) and step.name == NAME]
    assert (Written, Synced) == (of_the_file[0], of_the_file[-1])
