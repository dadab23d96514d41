"""No verdict is false, in any history that the assumptions allow; and each piece of evidence is needed for that."""

from __future__ import annotations

from collections import Counter, defaultdict

import histories
import pytest
from attrs import evolve
from histories import MODES, is_within_the_assumptions, judge, make_history

from neto_async.reconciling import calibration, verdicts, windows
from neto_async.reconciling.calibration import Calibration
from neto_async.reconciling.evidence import Missing, Settled
from neto_async.reconciling.matching import Customer

BY_DEFAULT = 100
FOR_LONG = 5_000
ENOUGH = 3_000
"""Histories in which a planted fault is found at the latest."""

NEITHER, MARKER, SOLE_WRITER, BOTH = MODES


def settle(mode, seeds):
    """Reconcile many histories; give how many doubts were settled how, and the seeds with a false verdict."""
    total, false = Counter(), []
    for seed in seeds:
        history = make_history(seed, mode)
        if is_within_the_assumptions(history):
            found, counts, _ = judge(history, mode)
            total += counts
            false += [seed] if found else []
    return total, false


def rates(total):
    """Give, for each true fate, the share that was settled how."""
    lines = []
    for fate in sorted({fate for fate, _ in total}):
        doubts = sum(total[fate, settled] for settled in Settled)
        shares = "  ".join(f"{settled} {total[fate, settled] / doubts:6.1%}" for settled in Settled)
        lines.append(f"    {fate:8} {doubts:6} doubts  {shares}")
    return "\n".join(lines)


def is_found(mode, *, beside=None):
    """Say whether any history shows a false verdict; with `beside`, one that is not false without the fault."""
    return any(
        is_within_the_assumptions(history) and judge(history, mode)[0] and not (beside and beside(history))
        for history in (make_history(seed, mode) for seed in range(ENOUGH))
    )


@pytest.mark.parametrize("calm", [False, True], ids=["wild", "calm"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_no_verdict_is_false(mode, calm):
    """Whatever the store, other people and the network do, a verdict is true; and some doubts are settled."""
    total, false = settle(evolve(mode, calm=calm), range(BY_DEFAULT))
    assert [] == false
    assert sum(total[key] for key in total if key[1] is not Settled.UNKNOWN) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("calm", [False, True], ids=["wild", "calm"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_no_verdict_is_false_for_long(mode, calm):
    """The same law over many more histories; the rates are those of docs/explanation/reconciling.md."""
    total, false = settle(evolve(mode, calm=calm), range(FOR_LONG))
    print(f"\n{mode}, {'calm' if calm else 'wild'}\n{rates(total)}")  # noqa: T201
    assert [] == false


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_a_wrong_assumption_costs():
    """
    Where ids do not ascend and none of the known ones shows it, or the guarantee is wrong, few verdicts are false.

    The counts are those of docs/explanation/reconciling.md.
    """
    drawn = ((mode, make_history(seed, mode)) for mode in MODES for seed in range(FOR_LONG))
    unordered = [(mode, history) for mode, history in drawn if not history.is_ordered]
    unnoticed = [(mode, history) for mode, history in unordered if not is_within_the_assumptions(history)]
    broken = evolve(SOLE_WRITER, keeps_guarantee=False)
    others = ((broken, make_history(seed, broken)) for seed in range(FOR_LONG))
    rewritten = [(mode, history) for mode, history in others if is_within_the_assumptions(history)]
    assert 0.4 < len(unnoticed) / len(unordered) < 0.6
    for group in (unnoticed, rewritten):
        judged = [judge(history, mode) for mode, history in group]
        false, doubts = sum(len(found) for found, _, _ in judged), sum(counts.total() for _, counts, _ in judged)
        print(f"\n{false} false of {doubts}")  # noqa: T201
        assert 0 < false < doubts / 500


def test_more_is_settled_with_a_marker_and_with_the_callers_word():
    """In a calm import each switch settles more doubts than none, and both settle most."""
    settled = {}
    for mode in MODES:
        total, _ = settle(evolve(mode, calm=True), range(BY_DEFAULT))
        settled[mode] = 1 - sum(total[key] for key in total if key[1] is Settled.UNKNOWN) / total.total()
    assert 0 < settled[NEITHER] < min(settled[SOLE_WRITER], settled[MARKER])
    assert max(settled[SOLE_WRITER], settled[MARKER]) < settled[BOTH]


def plant(monkeypatch, **changes):
    """Make each window other than it is."""
    right = histories.windows_of

    def other(*given):
        return {number: evolve(window, **changes) for number, window in right(*given).items()}

    monkeypatch.setattr(histories, "windows_of", other)


def take_known_ids_for_free(monkeypatch):
    monkeypatch.setattr(verdicts, "Customer", lambda **given: Customer(**given | {"known": frozenset()}))


def compare_blanks_loosely(monkeypatch):
    apply, customers = calibration._apply, verdicts._customers

    def squeeze(text):
        return " ".join(text.split())

    def squeezed(reading):
        return {
            name: [
                tuple(evolve(log, fields={**log.fields, "Notes": squeeze(log.fields.get("Notes", ""))}) for log in logs)
                for logs in found
            ]
            for name, found in customers(reading).items()
        }

    monkeypatch.setattr(calibration, "_apply", lambda rule, text: squeeze(apply(rule, text)))
    monkeypatch.setattr(verdicts, "_customers", squeezed)


def pair_over_several_calls(monkeypatch):
    pair = Customer._pair

    def pair_all(self, group, candidates):
        call = self.doubts[group[0]].call
        same = {place: evolve(self.doubts[place], call=call) for place in group}
        return pair(evolve(self, doubts=self.doubts | same), group, candidates)

    monkeypatch.setattr(Customer, "_pair", pair_all)


FAULTS = {
    "no floor": (SOLE_WRITER, lambda patch: plant(patch, floor=0)),
    "no delay": (NEITHER, lambda patch: plant(patch, settled_at=float("-inf"))),
    "no delay, with a marker": (MARKER, lambda patch: plant(patch, settled_at=float("-inf"))),
    "ids taken to ascend": (MARKER, lambda patch: patch.setattr(windows, "ids_ascend", lambda _: True)),
    "known ids claimed": (SOLE_WRITER, take_known_ids_for_free),
    "blanks compared loosely": (SOLE_WRITER, compare_blanks_loosely),
    "paired over several calls": (SOLE_WRITER, pair_over_several_calls),
    "texts taken to come whole": (MARKER, lambda patch: patch.setattr(verdicts, "_learnt", lambda *_: TRUSTING)),
    "one reading enough": (
        MARKER,
        lambda patch: patch.setattr(verdicts, "_same_twice", lambda first, _: (first or [Missing.CUSTOMER])[0]),
    ),
    "known logs not looked for": (
        MARKER,
        lambda patch: patch.setattr(verdicts, "by_customer", lambda _: defaultdict(list)),
    ),
}
TRUSTING = Calibration(
    witnesses=1, longest_sent=(1000,) * 4, longest_back=(1000,) * 4, specials=frozenset(("é", "<>", "&", "\n", "["))
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, monkeypatch):
    """Without any one piece of the evidence some verdict is false."""
    mode, plant_it = FAULTS[fault]
    plant_it(monkeypatch)
    assert is_found(mode)


def test_more_logs_than_records_are_not_taken_for_them(monkeypatch):
    """Where the caller's guarantee is wrong, counting still keeps verdicts true that would else be false."""
    mode = evolve(SOLE_WRITER, keeps_guarantee=False)
    pair = Customer._pair

    def pair_at_least(self, group, candidates):
        return pair(self, group, {place: logs[: len(group)] for place, logs in candidates.items()})

    def without_the_fault(history):
        with monkeypatch.context() as patch:
            patch.setattr(Customer, "_pair", pair)
            return judge(history, mode)[0]

    monkeypatch.setattr(Customer, "_pair", pair_at_least)
    assert is_found(mode, beside=without_the_fault)
