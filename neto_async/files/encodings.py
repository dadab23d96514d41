"""
The encoding of a file, decided on the whole of it before its first row is read. May import: errors.

A mark at the start (BOM) decides. Without one a file is UTF-8 where all of it is, else Windows-1252, the encoding
that Excel on Windows writes "CSV" in. Each byte is checked before anything is sent, so that a fault in the last
line refuses the file instead of surfacing half-way.
"""

from __future__ import annotations

import codecs
import io
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from attrs import field, frozen

from neto_async.errors import ConfigurationError, SourceError

__all__ = ["Encoding", "detect_encoding", "open_text"]

_CHUNK = 1 << 18  # bytes read at a time

_MARKS = (
    # The longer ones first: the mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)

_CHANGED_WORD = re.compile(rb"[A-Za-z\x80-\xff]{0,20}[\x80-\xff][A-Za-z\x80-\xff]{0,20}")


@frozen(kw_only=True)
class Encoding:
    """
    How a file's bytes become text.

    Attributes:
        codec: Name that Python's codecs know it by.
        label: Name that people know it by.
        mark: The bytes of the mark at the start of the file; empty without one.
        decided: How it was decided, in words.
        words: Where it is guessed, three words at most that it changes; a customer's text.
        guessed: True where nothing in the file says so: it is not UTF-8, so it is taken for Windows-1252.
    """

    codec: str
    label: str
    mark: bytes = field(default=b"", repr=False)
    guessed: bool = False
    decided: str = "as all of it is valid"
    words: tuple[str, ...] = field(default=(), repr=False)


def detect_encoding(file: BinaryIO, *, name: str, given: str | None = None) -> Encoding:
    """
    Say how a file is encoded, and make sure that all of it can be read so.

    ``given`` is the name of a codec that someone chose. A mark at the start of the file overrides it.

    Raises:
        SourceError: A byte can't be read; the text says in which line and column. Or no codec has that name.
    """
    known = _marked(file) or _chosen(given)
    encoding = known or Encoding(codec="utf-8", label="UTF-8")
    fault = _first_fault(file, encoding)
    if fault is not None and known is None:
        encoding = _not_utf8(file, name=name, fault=fault)
        fault = _first_fault(file, encoding)
    if fault is not None:
        line, column = fault
        raise SourceError(
            f"{name}, line {line}, column {column}: bytes that are not {encoding.label}; save the file as UTF-8, or "
            "give its encoding"
        )
    return encoding


def open_text(file: BinaryIO, encoding: Encoding, *, reading: threading.Lock | None = None) -> io.TextIOWrapper:
    """
    Read a file from its first character on, line endings as they are. Closing the text leaves the file open.

    ``reading`` is held while bytes are read, where others may do so in other threads.
    """
    borrowed = _Borrowed(file, len(encoding.mark), reading or threading.Lock())
    return io.TextIOWrapper(borrowed, encoding=encoding.codec, errors="strict", newline="")


def _marked(file: BinaryIO) -> Encoding | None:
    file.seek(0)
    start = file.read(4)
    for mark, codec, label in _MARKS:
        if start.startswith(mark):
            return Encoding(codec=codec, label=label, mark=mark, decided="by the mark at its start")
    return None


def _chosen(given: str | None) -> Encoding | None:
    if given is None:
        return None
    try:
        codec = codecs.lookup(given)
        "".encode(codec.name)  # Refuses codecs that are not between text and bytes, such as zip.
    except (LookupError, ValueError):
        raise ConfigurationError(
            'no encoding has this name; give one such as "utf-8", "windows-1252" or "utf-16"'
        ) from None
    return Encoding(codec=codec.name, label=given, decided="as given")


def _not_utf8(file: BinaryIO, *, name: str, fault: tuple[int, int]) -> Encoding:
    """
    Distinguish Windows-1252 from damaged UTF-8, by the majority of the special characters.

    Reading damaged UTF-8 as Windows-1252 would garble every good character in it without a word. A few valid
    sequences prove nothing: a capital E acute before a curly apostrophe is one by chance.
    """
    sound, broken = _special_characters(file)
    if sound > broken:
        line, column = fault
        raise SourceError(
            f"{name}, line {line}, column {column}: bytes that are not UTF-8, in a file that is UTF-8 elsewhere; "
            "correct that line, or give the file's encoding"
        )
    words = tuple(islice(dict.fromkeys(_changed_words(file)), 3))
    return Encoding(codec="cp1252", label="Windows-1252", guessed=True, decided="guessed: it is not UTF-8", words=words)


def _changed_words(file: BinaryIO) -> Iterator[str]:
    for chunk in _chunks(file, 0):
        for found in _CHANGED_WORD.finditer(chunk):
            yield found[0].decode("cp1252", "replace")


def _special_characters(file: BinaryIO) -> tuple[int, int]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    sound = broken = 0
    for chunk in _chunks(file, 0):
        text = decoder.decode(chunk)
        replaced = text.count("\ufffd")
        broken += replaced
        sound += len(text) - len(text.encode("ascii", "ignore")) - replaced
    return sound, broken


def _first_fault(file: BinaryIO, encoding: Encoding) -> tuple[int, int] | None:
    """Find the line and the column, from 1, of the first bytes that can't be decoded."""
    decoder = codecs.getincrementaldecoder(encoding.codec)()
    at = 1, 1
    try:
        for chunk in _chunks(file, len(encoding.mark)):
            at = _behind(decoder.decode(chunk), *at)
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        if isinstance(error, UnicodeDecodeError):  # A few odd codecs don't say where, or can't leave anything out.
            with suppress(UnicodeError):
                at = _behind(error.object[: error.start].decode(encoding.codec, "ignore"), *at)
        return at
    return None


def _behind(text: str, line: int, column: int) -> tuple[int, int]:
    breaks = text.count("\n")
    return line + breaks, len(text) - text.rfind("\n") if breaks else column + len(text)


def _chunks(file: BinaryIO, start: int) -> Iterator[bytes]:
    file.seek(start)
    while chunk := file.read(_CHUNK):
        yield chunk


class _Borrowed(io.BufferedIOBase):
    """
    A file that someone else closes, read from a place of one's own.

    `io.TextIOWrapper` would close it, even when collected as garbage.
    """

    def __init__(self, file: BinaryIO, at: int, reading: threading.Lock) -> None:
        self._file = file
        self._at = at
        self._reading = reading

    @property
    def name(self) -> str:
        """Nothing: a part of `TextIOWrapper`'s protocol."""
        return ""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        with self._reading:
            self._file.seek(self._at)
            found = self._file.read(-1 if size is None else size)
        self._at += len(found)
        return found

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(_CHUNK if size < 0 else size)
