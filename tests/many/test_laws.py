"""The laws themselves: of an account that keeps them all, each change that breaks one is named by that law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from laws import BrokenLawError, check

WHO = "worker 0.1"
IMPORTS = {"import 0": 2}
SINGLE, ROW, END = 1, 3, 6
"""Places in what the process said: of the single add's outcome, of the first row's, and of its end."""


class Account:
    """What a store with three calls has, and what the one process said."""

    def __init__(self) -> None:
        self.calls = [(0.0, 200, "Success"), (0.5, 200, "Success"), (1.0, 200, "Success")]
        self.logs = [(1, "a", WHO, 0.0), (2, "import 0/0", WHO, 0.5), (3, "import 0/1", WHO, 1.0)]
        self.said: list[list[Any]] = [
            ["submitted", "a", 0.0],
            ["single", "a", "Added", 1, 0.1],
            ["began", "import 0", 1, 0.4],
            ["row", "import 0", 1, 0, "Added", 2, 0.6],
            ["row", "import 0", 1, 1, "Unknown", 0, 2.0],
            ["complete", "import 0", 1, 2.0],
            ["ended", 2.1],
        ]

    def check(self) -> str:
        return check({"calls": self.calls, "logs": self.logs}, {WHO: self.said}, IMPORTS, calls=2, window=1.0)


def test_an_account_that_keeps_them() -> None:
    """Added, in doubt and never more calls in a window than the quota: no law is broken."""
    assert "3 calls, fullest window 2" in Account().check()


def change(place: int, *values: Any) -> Callable[[Account], None]:
    """Have the process say another outcome of a record, with what follows it."""

    def changed(account: Account) -> None:
        line = account.said[place]
        line[-1 - len(values) : -1] = values

    return changed


def forget_the_single_add(account: Account) -> None:
    del account.said[: SINGLE + 1]


BROKEN: dict[str, tuple[str, Callable[[Account], Any]]] = {
    "a call too many": ("window", lambda account: account.calls.append((0.9, 200, "Success"))),
    "a call that was refused": ("window", lambda account: account.calls.append((9.0, 429, "Error"))),
    "a row that is there twice": ("once", lambda account: account.logs.append((4, "import 0/1", WHO, 3.0))),
    "an id of nothing": ("true", change(SINGLE, "Added", 9)),
    "another record's id": ("true", change(ROW, "Added", 3)),
    "not sent, and there": ("true", change(SINGLE, "NotSent", 0)),
    "rejected": ("true", change(SINGLE, "Rejected", 0)),
    "no outcome of a single add": ("lost", lambda account: account.said.pop(SINGLE)),
    "no single add": ("lost", forget_the_single_add),
    "two outcomes of a row": ("lost", lambda account: account.said.insert(ROW, account.said[ROW])),
    "an end without a row": ("lost", lambda account: account.said.pop(ROW)),
    "an end with a row that was not sent": (
        "lost",
        lambda account: (account.logs.pop(), change(ROW + 1, "NotSent", 0)(account)),
    ),
    "no end": ("lost", lambda account: account.said.pop(END - 1)),
    "nothing but doubt": ("lost", change(ROW, "Unknown", 0)),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_breaks_a_law(broken: str) -> None:
    """The text begins with the law's name."""
    law, breaks = BROKEN[broken]
    account = Account()
    breaks(account)
    with pytest.raises(BrokenLawError, match=f"^{law}: "):
        account.check()


def test_who_was_killed_need_not_say_what_became_of_a_log() -> None:
    """A process that did not come to its end leaves single adds without an outcome."""
    account = Account()
    del account.said[END], account.said[SINGLE]
    assert "'nobody there': 1" in account.check()
