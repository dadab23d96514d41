"""
Observing calls from outside, as tracing and logging do. May import: escaping, wire, outcomes.

The engine notifies an observer where records come from, and when a call begins and ends. It passes neither records nor
answers, so that nothing that an observer writes can hold a customer's text, a key or Neto's words. Observers, and the
handlers and filters of a log, are the program's: what they raise must not take records with it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from neto_async.escaping import escaped
from neto_async.outcomes import Attempt
from neto_async.wire import VerdictKind

__all__ = ["CallObserver", "SafeObserver", "logger"]


class _GuardedLog(logging.LoggerAdapter[logging.Logger]):
    """A log that does no harm: text is escaped, and where a handler or a filter raises, the line is lost."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        try:
            safe = (escaped(value) if isinstance(value, str) else value for value in args)
            super().log(level, msg, *safe, stacklevel=2, **kwargs)
        except Exception:  # noqa: BLE001
            # As `logging.Handler.handleError` does it.
            if logging.raiseExceptions:
                traceback.print_exc()


logger: _GuardedLog = _GuardedLog(logging.getLogger("neto_async"))
"""The log of the package."""


class CallObserver(Protocol):
    """What is notified of calls. Its methods run in the event loop and must not wait."""

    def handed_in(self) -> Any:
        """Return a token for the origin of a single add, or of a run; called in its caller's own context."""

    def began(self, number: int, origins: Sequence[Any], records: int, body_bytes: int, action: str) -> Any:
        """
        Note that a call begins; called in the call's own task, whose context variables are the observer's to set.

        Args:
            number: Number of the call, counted from 1 over the life of the client.
            origins: What `handed_in` gave: one for each single add in the call, or one for the run.
            records: Number of records in the call.
            body_bytes: Length of its body.
            action: The vendor's name of what it does, such as "AddCustomerLog".

        Returns:
            A token that `ended` gets back; None if that need not be called.
        """

    def ended(self, began: Any, attempt: Attempt, verdict: VerdictKind | None) -> None:
        """
        Note that a call ended; called in the same context, if not always by the same task.

        Args:
            began: What `began` gave.
            attempt: How far it came, and how long it took.
            verdict: What its answer meant for its records; None where it never left.
        """


@frozen(eq=False)
class SafeObserver(CallObserver):
    """An observer whose errors end in the log, with None as the answer: they must not take records with them."""

    observer: CallObserver

    def handed_in(self) -> Any:
        return self._ask(self.observer.handed_in)

    def began(self, number: int, origins: Sequence[Any], records: int, body_bytes: int, action: str) -> Any:
        return self._ask(self.observer.began, number, origins, records, body_bytes, action)

    def ended(self, began: Any, attempt: Attempt, verdict: VerdictKind | None) -> None:
        self._ask(self.observer.ended, began, attempt, verdict)

    def _ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:  # noqa: BLE001
            # Only the class: an observer's text could say anything.
            logger.error("the observer of calls raised %s", type(error).__name__)  # noqa: TRY400
            return None
