"""Match one customer's records in doubt with its logs. Pure; may import: evidence, calibration, windows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from neto_async.models import StoredCustomerLog
from neto_async.reconciling.calibration import Calibration, Text
from neto_async.reconciling.evidence import Doubt, Missing
from neto_async.reconciling.windows import Window

__all__ = ["NO_LOG", "Case", "Customer"]

NO_LOG = 0
"""Instead of an id: none of the logs is left for the record."""


@frozen(kw_only=True, eq=False)
class Case:
    """
    A record in doubt as the table of verdicts sees it.

    Attributes:
        unread: Why its customer's logs can't be used; None where they can.
        marked: Ids of the logs that carry its marker.
        free: Ids that its call can have and that belong to no other record for certain.
        candidates: Those of them that could be the record. Only Notes count: staff change the other fields at work.
        elsewhere: Ids that its call can't have, of logs that nevertheless look like it.
        alike: Number of records in doubt that share these candidates, this one included.
        paired: Its log, `NO_LOG`, or what is missing to say which.
        has_floor: Whether an id is known to be older than the calls of all of these records.
        is_over: Whether its call was over when the logs were read.
        is_witnessed: Whether any known log came back.
        sole_writer: Whether the caller guarantees that nobody else writes or edits such logs.
        trusts_texts: Whether a log whose text can't be the record's is another log for certain.
    """

    unread: Missing | None = None
    marked: tuple[int, ...] = ()
    free: tuple[int, ...] = ()
    candidates: tuple[int, ...] = ()
    elsewhere: tuple[int, ...] = ()
    alike: int = 1
    paired: int | Missing = Missing.COUNT
    has_floor: bool = False
    is_over: bool = False
    is_witnessed: bool = False
    sole_writer: bool = False
    trusts_texts: bool = False

    @property
    def is_conclusive(self) -> bool:
        """Whether a record without a log is absent to stay. It does not depend on ids alone: they may not ascend."""
        return self.is_over and self.is_witnessed and not self.elsewhere


@frozen(kw_only=True, eq=False)
class Customer:
    """
    A customer whose logs were read.

    Attributes:
        doubts: Its records in doubt, by their place in the evidence.
        logs: All its logs, by ascending id.
        known: Ids that belong to other records.
        windows: The ids that each call can have.
    """

    doubts: Mapping[int, Doubt]
    logs: Sequence[StoredCustomerLog]
    known: frozenset[int]
    windows: Mapping[int, Window]
    calibration: Calibration
    read_at: float
    sole_writer: bool

    def cases(self) -> dict[int, Case]:
        """Give what the table has to know of each record."""
        # A customer may have thousands of logs and of doubts, so as little as possible is done for each pair of them.
        unknown = [log for log in self.logs if log.log_id not in self.known]
        texts = {log.log_id: Text.of(log.fields) for log in unknown}
        ids = _ids(unknown)
        free = {call: self.windows[call].of(ids) for call in {doubt.call for doubt in self.doubts.values()}}
        marked = self._marked()
        claimed = _claimed(marked, {place: free[doubt.call] for place, doubt in self.doubts.items()})
        taken = set(claimed.values())
        left = {call: tuple(log_id for log_id in own if log_id not in taken) for call, own in free.items()}
        expected = self._expected()
        awaited = {log_id: expected[text.notes] for log_id, text in texts.items() if text.notes in expected}
        cases = {place: Case(marked=(log_id,), paired=log_id) for place, log_id in claimed.items()}
        candidates = {}
        for place in self.doubts.keys() - claimed.keys():
            call, window = self.doubts[place].call, self._window(place)
            candidates[place], like = self._candidates(place, left[call], texts, awaited)
            cases[place] = Case(
                marked=marked.get(place, ()),
                free=left[call],
                candidates=candidates[place],
                elsewhere=tuple(log_id for log_id in like if log_id not in window),
                is_over=self.read_at >= window.settled_at,
                is_witnessed=self.calibration.witnesses > 0,
                sole_writer=self.sole_writer,
                trusts_texts=self.sole_writer or place in marked,
            )
        for group in _groups(candidates):
            pairs = self._pair(group, candidates)
            has_floor = all(self._window(place).floor is not None for place in group)
            for place in group:
                cases[place] = evolve(cases[place], alike=len(group), paired=pairs[place], has_floor=has_floor)
        return cases

    def _candidates(
        self, place: int, left: tuple[int, ...], texts: Mapping[int, Text], awaited: Mapping[int, set[int]]
    ) -> tuple[tuple[int, ...], list[int]]:
        """
        Give the ids of the logs that a record could be, and of all that look like it.

        Args:
            place: The record's.
            left: The ids that its call can have and that no marker has claimed.
            texts: Those of all logs that belong to no other record for certain.
            awaited: The records that are expected to come back with exactly the text of a log, by its id.
        """
        sent = Text.of(self.doubts[place].sent)
        comes_whole = self.calibration.comes_whole(sent)
        like = [log_id for log_id, text in texts.items() if text.looks_like(sent)]
        if not comes_whole:
            others = {
                log_id for log_id, places in awaited.items() if not sent.may_become(texts[log_id]) and places - {place}
            }.difference(like)
            return tuple(log_id for log_id in left if log_id not in others), like
        if self.sole_writer:
            like = [
                log_id
                for log_id in like
                if texts[log_id].words == sent.words or not awaited.get(log_id, set()) - {place}
            ]
        return tuple(sorted(set(like).intersection(left))), like

    def _expected(self) -> Mapping[str, set[int]]:
        """Give the records that are expected to come back with each text."""
        expected: dict[str, set[int]] = defaultdict(set)
        for place, doubt in self.doubts.items():
            if (key := self.calibration.key(doubt.sent)) is not None:
                expected[key[0]].add(place)
        return expected

    def _window(self, place: int) -> Window:
        return self.windows[self.doubts[place].call]

    def _marked(self) -> dict[int, tuple[int, ...]]:
        """Give the ids of the logs that carry each marker, for markers that one record alone has."""
        shared = Counter(doubt.marker for doubt in self.doubts.values())
        return {
            place: _ids(log for log in self.logs if doubt.marker in log.fields.get("Notes", ""))
            for place, doubt in self.doubts.items()
            if doubt.marker and shared[doubt.marker] == 1
        }

    def _pair(self, group: Sequence[int], candidates: Mapping[int, tuple[int, ...]]) -> Mapping[int, int | Missing]:
        """Pair records with the logs that they share: all of them, or what is missing is given for each."""
        shared = {log_id for ids in {candidates[place] for place in group} for log_id in ids}
        by_notes = defaultdict(list)
        for log in self.logs:
            if log.log_id in shared:
                by_notes[log.fields.get("Notes", "")].append(log)
        classes: dict[tuple[str, ...] | None, list[int]] = defaultdict(list)
        for place in sorted(group):
            classes[self.calibration.key(self.doubts[place].sent)].append(place)
        held = {
            key: _ids(
                log for log in by_notes[key[0]] if self.calibration.agrees(self.doubts[places[0]].sent, log.fields)
            )
            for key, places in classes.items()
            if key is not None
        }
        if len(held) < len(classes):
            return dict.fromkeys(group, Missing.CALIBRATION)
        holders = Counter(log_id for ids in held.values() for log_id in ids)
        if set(holders) != shared:
            return dict.fromkeys(group, Missing.SAME_RECORD)
        if max(holders.values(), default=1) > 1:
            return dict.fromkeys(group, Missing.WHICH)
        is_one_call = all(len({self.doubts[place].call for place in places}) == 1 for places in classes.values())
        pairs: dict[int, int | Missing] = {
            place: log_id for key, ids in held.items() for place, log_id in zip(classes[key], ids, strict=False)
        }
        if len(shared) < len(group) and is_one_call and len({self._whole(place) for place in group}) == 1:
            return dict.fromkeys(group, NO_LOG) | pairs
        if any(len(classes[key]) != len(ids) for key, ids in held.items()):
            return dict.fromkeys(group, Missing.COUNT)
        can_be = all(pairs[place] in candidates[place] for place in group)
        return pairs if is_one_call and can_be else dict.fromkeys(group, Missing.WHICH)

    def _whole(self, place: int) -> frozenset[tuple[str, str]]:
        return frozenset(self.doubts[place].sent.items())


def _claimed(marked: Mapping[int, tuple[int, ...]], free: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Give the log of each record whose marker is in one log alone, which has no other marker and can be its own."""
    carried = Counter(log_id for ids in marked.values() for log_id in ids)
    return {
        place: ids[0]
        for place, ids in marked.items()
        if len(ids) == 1 and carried[ids[0]] == 1 and ids[0] in free[place]
    }


def _ids(logs: Iterable[StoredCustomerLog]) -> tuple[int, ...]:
    return tuple(log.log_id for log in logs)


def _groups(candidates: Mapping[int, tuple[int, ...]]) -> Iterator[list[int]]:
    """Give records that share candidates, or share them with one that does, together; each record once."""
    places_of: dict[tuple[int, ...], list[int]] = defaultdict(list)  # many have the very same candidates
    for place, ids in candidates.items():
        if ids:
            places_of[ids].append(place)
        else:
            yield [place]
    distinct = list(places_of.items())
    holding = defaultdict(list)
    for number, (ids, _) in enumerate(distinct):
        for log_id in ids:
            holding[log_id].append(number)
    seen: set[int] = set()
    for start in range(len(distinct)):
        group: list[int] = []
        waiting = [start]
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                ids, places = distinct[number]
                group += places
                for log_id in ids:
                    waiting += holding.pop(log_id, [])
        if group:
            yield group
