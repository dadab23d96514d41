"""What must be true after any schedule, by the store's ledger and by what every process said before it ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from attrs import define, field

__all__ = ["BrokenLawError", "check"]


class BrokenLawError(AssertionError):
    """A law does not hold; the text begins with the law's name."""


@define
class Account:
    """What an account came to, read from both sides."""

    ledger: dict[str, Any]
    reports: dict[str, list[list[Any]]]
    imports: dict[str, int]
    text_of: dict[int, str] = field(init=False)
    saved: Counter[str] = field(init=False)
    brought: dict[str, list[tuple[str, float]]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        logs = self.ledger["logs"]
        self.text_of = {log_id: text for log_id, text, _, _ in logs}
        self.saved = Counter(self.text_of.values())
        self.brought = defaultdict(list)
        for _, text, who, at in logs:
            self.brought[text].append((who, at))

    def window(self, calls: int, window: float) -> int:
        """No window at the store holds more calls than the quota, and none was refused. Give the fullest."""
        made_at = sorted(at for at, _, _ in self.ledger["calls"])
        # By less than the resolution of what is compared, two calls are not a window apart.
        fullest = max(
            sum(at <= other < at + window - 1e-6 for other in made_at[first:][: calls + 1])
            for first, at in enumerate(made_at)
        )
        refused = sum(status == 429 for _, status, _ in self.ledger["calls"])
        if refused or fullest > calls:
            raise BrokenLawError(f"window: {fullest} calls in one, {refused} refused")
        return fullest

    def once(self) -> None:
        """Nothing is in the store twice, what is in doubt included: nobody may send that again."""
        twice = {text: count for text, count in self.saved.items() if count > 1}
        if twice:
            raise BrokenLawError(f"once: {len(twice)} texts are in the store twice, such as {min(twice)}")

    def true(self, who: str, at: float, text: str, kind: str, log_id: int) -> None:
        """What a process said of a record is so."""
        if kind == "Added":
            so = self.text_of.get(log_id) == text
        elif kind == "Unknown":
            so = True
        elif kind == "NotSent":
            # Another process may have sent the row of an import since, or before this one learned of it.
            so = not any(whose == who and saved_at < at for whose, saved_at in self.brought[text])
        else:
            so = False
        if not so:
            raise BrokenLawError(f"true: {who} said {kind} of {text}, which is {self.saved[text]} times in the store")

    def singles(self) -> Counter[str]:
        """Each single add has one true outcome, or its process is dead; what is in the store was submitted."""
        counts: Counter[str] = Counter()
        for who, said in self.reports.items():
            submitted = {line[1] for line in said if line[0] == "submitted"}
            for what, *rest in said:
                if what == "single":
                    text, kind, log_id, at = rest
                    submitted.remove(text)
                    self.true(who, at, text, kind, log_id)
                    counts[kind] += 1
            counts["nobody there"] += len(submitted)
            if submitted and said[-1][0] == "ended":
                raise BrokenLawError(f"lost: {len(submitted)} single adds of {who} have no outcome")
        if not counts.total():
            raise BrokenLawError("lost: no single add was submitted")
        return counts

    def rows(self) -> Counter[str]:
        """Each row's outcomes are true; whoever came to the end of an import has one of each row, none of them lost."""
        counts: Counter[str] = Counter()
        ends = 0
        for who, said in self.reports.items():
            runs: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
            for what, *rest in said:
                if what == "row":
                    name, number, index, kind, log_id, at = rest
                    self.true(who, at, f"{name}/{index}", kind, log_id)
                    if index in runs[name, number]:
                        raise BrokenLawError(f"lost: {who} has two outcomes of {name}/{index} in a run")
                    runs[name, number][index] = kind
                elif what == "complete":
                    ends += 1
                    name, number, _ = rest
                    run = runs[name, number]
                    if sorted(run) != list(range(self.imports[name])):
                        raise BrokenLawError(f"lost: {who} came to the end of {name} with {len(run)} rows")
                    if set(run.values()) - {"Added", "Unknown"}:
                        raise BrokenLawError(f"lost: {who} came to the end of {name} with {Counter(run.values())}")
                    counts += Counter(run.values())
        if not ends:
            raise BrokenLawError("lost: no import came to its end")
        if not counts["Added"]:
            raise BrokenLawError("lost: every row is in doubt")
        return counts


def check(
    ledger: dict[str, Any], reports: dict[str, list[list[Any]]], imports: dict[str, int], *, calls: int, window: float
) -> str:
    """Check all laws, and give what happened in a line."""
    account = Account(ledger, reports, imports)
    fullest = account.window(calls, window)
    singles, rows = account.singles(), account.rows()
    account.once()
    return f"{len(ledger['calls'])} calls, fullest window {fullest}; singles {dict(singles)}; rows {dict(rows)}"
