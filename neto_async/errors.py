"""
The errors, by cause.

Every error of this library is one of these:

    NetoError
    ├── ConfigurationError      the client or the command was set up wrongly; nothing was sent
    │   ├── JournalInUseError       another run uses the journal; nothing was sent
    │   └── SourceError             a file can't be read; nothing was sent
    ├── JournalError            the journal of an import can't be written any more; the run stopped
    ├── BulkSourceError         the source of a bulk add raised; the report says what became of the records before it
    ├── InvalidRecordError      a log breaks a documented rule; it was not sent        (ValueError)
    ├── RejectedError           the store refused the log and saved nothing of it
    ├── NotSentError            the log was certainly not saved
    │   ├── AuthenticationError     the store refused the API key
    │   └── RateLimitedError        the store asked for a longer pause than allowed
    ├── ReadError               customers could not be read; nothing was changed
    └── OutcomeUnknownError     the log may have been saved; look before sending it again

The consequence is an attribute: ``outcome`` is that of the record concerned. Texts name fields, limits and
positions, never a value: neither a key nor what a customer wrote can be read in them. They may name a column or a file,
so ``str()`` escapes what a terminal would obey. May import: escaping, outcomes.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from neto_async.escaping import escaped
from neto_async.outcomes import Invalid, NotSent, Outcome, Rejected, Unknown

__all__ = [
    "AuthenticationError",
    "BulkSourceError",
    "ConfigurationError",
    "InvalidRecordError",
    "JournalError",
    "JournalInUseError",
    "NetoError",
    "NotSentError",
    "OutcomeUnknownError",
    "RateLimitedError",
    "ReadError",
    "RejectedError",
    "SourceError",
]


class NetoError(Exception):
    """
    The root of all errors of this library.

    Attributes:
        outcome: That of the record concerned; None where no record is concerned.
        fate: The old name of ``outcome``.
    """

    outcome: Outcome | None
    if TYPE_CHECKING:  # so that each kind can declare its own
        fate: Outcome | None
    else:
        fate = property(attrgetter("outcome"))

    def __init__(self, message: str, *, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __str__(self) -> str:
        return escaped(super().__str__())

    @property
    def safe_to_resend(self) -> bool:
        """True where sending the record again can't put it into the store twice."""
        return self.outcome is None or self.outcome.safe_to_resend

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls __init__ with args alone and would lose keyword-only attributes.
        return (type(self).__new__, (type(self), *self.args), self.__dict__)


class ConfigurationError(NetoError):
    """The client or the command was set up wrongly. Nothing was sent; the text says what to change."""


class JournalInUseError(ConfigurationError):
    """Another run uses the journal, so nothing was sent. The same import may be tried again later, without a change."""


class SourceError(ConfigurationError):
    """A file can't be read as rows of logs. Nothing was sent; the text names the file and the place, and what to do."""


class JournalError(NetoError):
    """The journal of an import can't be written any more. The run stopped; a later one with the journal continues."""


class BulkSourceError(NetoError):
    """
    The source of a bulk add raised; what it raised is the error's ``__cause__``.

    The records before it were added like any others, so don't simply repeat the whole bulk add.

    Attributes:
        report: The `BulkReport` on each record that the source had yielded.
    """

    report: Any  # a BulkReport, which is made of things above this module

    def __init__(self, message: str, *, report: Any = None, outcome: Outcome | None = None) -> None:
        super().__init__(message, outcome=outcome)
        self.report = report

    @property
    def safe_to_resend(self) -> bool:
        """True where sending all records of the report again can't put one into the store twice."""
        outcomes = () if self.report is None else self.report.outcomes
        return super().safe_to_resend and all(outcome.safe_to_resend for outcome in outcomes)


class InvalidRecordError(NetoError, ValueError):
    """
    A log breaks a rule of the vendor's documentation and was not sent.

    Attributes:
        errors: What is wrong, a sentence for each fault: field, limit and position, never the value.
    """

    outcome: Invalid
    fate: Invalid
    errors: tuple[str, ...]

    def __init__(self, errors: tuple[str, ...], *, outcome: Outcome | None = None) -> None:
        super().__init__("; ".join(errors), outcome=outcome)
        self.errors = errors


class RejectedError(NetoError):
    """The store refused the log and saved nothing of it. Neto's own words are in ``outcome.messages``."""

    outcome: Rejected
    fate: Rejected


class NotSentError(NetoError):
    """The log was certainly not saved: it never left, or was refused before it was processed."""

    outcome: NotSent
    fate: NotSent


class AuthenticationError(NotSentError):
    """The store refused the API key. The client sends nothing more, apart from one probe a minute."""


class RateLimitedError(NotSentError):
    """
    The store asked for a pause that is longer than the call may wait.

    Attributes:
        retry_after: Seconds from now until the store takes calls again, if it said so.
    """

    retry_after: float | None

    def __init__(self, message: str, *, outcome: Outcome | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, outcome=outcome)
        self.retry_after = retry_after


class ReadError(NetoError):
    """
    Customers could not be read from the store. Nothing was changed there; the text says why.

    Attributes:
        messages: Neto's own words, where the store refused.
    """

    messages: tuple[str, ...]

    def __init__(self, message: str, *, outcome: Outcome | None = None, messages: tuple[str, ...] = ()) -> None:
        super().__init__(message, outcome=outcome)
        self.messages = messages


class OutcomeUnknownError(NetoError):
    """The log may have been saved. It can't be deleted through the API: look in the store before sending it again."""

    outcome: Unknown
    fate: Unknown
