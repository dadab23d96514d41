"""
Markers: a short token in the Notes of a record, by which it is found again for certain.

May import: protocol, wire, models, errors. A journal's fingerprint of a row is of the log without its marker. The token
is made from the row's fingerprint and position: who has journal and source can make it again, from the form that the
journal remembers. All rows of a journal carry the same marker, or none: a row that was sent without one would seem to
be absent if it were looked for by one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from attrs import define, field

from neto_async.errors import ConfigurationError
from neto_async.models import UNCARRIABLE
from neto_async.wire import Fields, make_fingerprint

__all__ = ["Marking", "agreed", "checked_form", "marker_of"]

PLACE = "{}"
"""The place of the token in a marker's form."""


def checked_form(form: object) -> str:
    """Give a marker's form; `ConfigurationError` where it has not one place for a token, or no log can carry it."""
    if not isinstance(form, str) or form.count(PLACE) != 1 or UNCARRIABLE.search(form):
        raise ConfigurationError('marker must be a text with one {} for its token, such as " [#{}]"')
    return form


def agreed(given: str | None, noted: str | None) -> str | None:
    """
    Give the form of the marker that a journal's rows carry; None where they carry none.

    Args:
        given: The form that the user gave; None where none was given.
        noted: What the journal has noted: empty for no marker, None where it has noted nothing.

    Raises:
        ConfigurationError: They contradict each other.
    """
    if given is None or noted is None:
        return given or noted or None
    if given != noted:
        made = f'with the marker "{noted}"' if noted else "without a marker"
        raise ConfigurationError(
            f'the rows of this journal were sent {made}, so "{given}" can\'t be their marker: leave it out, and the '
            "journal says what is right"
        )
    return given


def marker_of(journal: Any, given: str | None) -> str | None:
    """
    Give the form of the marker that the rows of an open journal carry, as `agreed`.

    Raises:
        ConfigurationError: The journal has noted another one.
    """
    return agreed(given, journal.marker() if hasattr(journal, "marker") else None)


@define
class Marking:
    """Marks records of one import, by the form of a marker and the journal's salt."""

    _form: str
    _salt: bytes = field(repr=False)
    _fingerprint: Callable[[Fields], bytes] = field(init=False, repr=False)

    @_fingerprint.default
    def _with_salt(self) -> Callable[[Fields], bytes]:
        return make_fingerprint(self._salt)

    def marker(self, position: int, fields: Fields) -> str:
        """Give the marker of a record, with a token of eight letters and digits."""
        hashed = hashlib.blake2b(
            self._fingerprint(fields) + position.to_bytes(8, "little"), digest_size=5, salt=self._salt
        )
        return self._form.replace(PLACE, base64.b32encode(hashed.digest()).decode().lower())

    def marked(self, position: int, fields: Fields) -> Fields:
        """Give what is sent of a record: its marker ends its Notes."""
        return {**fields, "Notes": fields.get("Notes", "") + self.marker(position, fields)}
