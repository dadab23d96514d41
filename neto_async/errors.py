"""
What can go wrong, by cause.

Every error of this library is one of these:

    NetoError
    ├── ConfigurationError      the client or the command was set up wrongly; nothing was sent
    ├── JournalError            the journal of an import can't be written any more; the run stopped
    ├── InvalidRecordError      a log breaks a documented rule; it was not sent        (ValueError)
    ├── RejectedError           the store refused the log and saved nothing of it
    ├── NotSentError            the log was certainly not saved
    │   ├── AuthenticationError     the store refused the API key
    │   └── RateLimitedError        the store asked for a longer pause than allowed
    └── OutcomeUnknownError     the log may have been saved; look before sending it again

The consequence is an attribute: ``fate`` is the outcome of the record concerned. Texts name fields, limits and
positions, never a value: neither a key nor what a customer wrote can be read in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neto_async.outcomes import Outcome

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "InvalidRecordError",
    "JournalError",
    "NetoError",
    "NotSentError",
    "OutcomeUnknownError",
    "RateLimitedError",
    "RejectedError",
]


class NetoError(Exception):
    """
    The root of all errors of this library.

    Attributes:
        fate: The outcome of the record concerned; None where no record is concerned.
    """

    fate: Outcome | None

    def __init__(self, message: str, *, fate: Outcome | None = None) -> None:
        super().__init__(message)
        self.fate = fate

    @property
    def safe_to_resend(self) -> bool:
        """True where sending the record again can't put it into the store twice."""
        return self.fate is None or self.fate.safe_to_resend

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls __init__ with args alone and would lose keyword-only attributes.
        return (_restore, (type(self), self.args, self.__dict__.copy()))


def _restore(kind: type[NetoError], args: tuple[Any, ...], state: dict[str, Any]) -> NetoError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(NetoError):
    """The client or the command was set up wrongly. Nothing was sent; the text says what to change."""


class JournalError(NetoError):
    """The journal of an import can't be written any more. The run stopped; a later one on the same journal goes on."""


class InvalidRecordError(NetoError, ValueError):
    """
    A log breaks a rule of the vendor's documentation and was not sent.

    Attributes:
        errors: What is wrong, a sentence for each fault: field, limit and position, never the value.
    """

    errors: tuple[str, ...]

    def __init__(self, errors: tuple[str, ...], *, fate: Outcome | None = None) -> None:
        super().__init__("; ".join(errors), fate=fate)
        self.errors = errors


class RejectedError(NetoError):
    """The store refused the log and saved nothing of it. Neto's own words are in ``fate.messages``."""


class NotSentError(NetoError):
    """The log was certainly not saved: it never left, or was refused before it was processed."""


class AuthenticationError(NotSentError):
    """The store refused the API key. The client sends nothing more, apart from one probe a minute."""


class RateLimitedError(NotSentError):
    """
    The store asked for a pause that is longer than the call may wait.

    Attributes:
        retry_after: Seconds from now until the store takes calls again, as far as it said.
    """

    retry_after: float | None

    def __init__(self, message: str, *, fate: Outcome | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, fate=fate)
        self.retry_after = retry_after


class OutcomeUnknownError(NetoError):
    """The log may have been saved. It can't be deleted through the API: look in the store before sending it again."""
