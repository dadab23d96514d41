"""
Files that are packed with gzip, read as if they were not. May import: errors.

They are known by their first bytes, whatever their names say. Nothing is unpacked whole: what is read is unpacked as
it is read, and going back to the start unpacks again.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO

from neto_async.errors import ConfigurationError

__all__ = ["MAX_FREELY", "MAX_RATIO", "refuse_bomb", "unpacked"]

_GZIP = b"\x1f\x8b"
"""The first two bytes of a gzip file (RFC 1952, section 2.3.1)."""

MAX_FREELY = 256 * 1024 * 1024
"""Bytes that may come out of any file; what is longer must not be packed too well."""

MAX_RATIO = 200
"""Bytes unpacked for each one packed, at most. Tables of text reach 5 to 50, and a made-up bomb 1,000."""


def unpacked(file: BinaryIO, *, name: str) -> BinaryIO:
    """
    Give a file as it is before packing: a reader that unpacks where it is gzip, else the file itself.

    Args:
        file: Open for reading bytes, and seekable.
        name: What error texts call it.
    """
    file.seek(0)
    if file.read(len(_GZIP)) != _GZIP:
        return file
    return _Unpacking(file, name)  # type: ignore[return-value] # what BinaryIO has beyond reading is never asked for


def refuse_bomb(unpacked_bytes: int, packed_bytes: int, *, name: str) -> None:
    """
    Make sure that a file was not packed in order to fill the reader's time and memory.

    Raises:
        ConfigurationError: It is long, and packed better than any table of text.
    """
    if unpacked_bytes > MAX_FREELY and unpacked_bytes > MAX_RATIO * packed_bytes:
        raise ConfigurationError(
            f"{name}: it holds more than {MAX_RATIO} times its packed size, which no table does; unpack it and look "
            "at it"
        )


class _Unpacking(io.BufferedIOBase):
    """A gzip file, unpacked while it is read. Each fault in it is an error of ours that says so."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._start()

    def _start(self) -> None:
        self._file.seek(0)
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, _: int = io.SEEK_SET, /) -> int:
        if offset < self._gzip.tell():
            self._start()  # also where the last reading ended in an error, which GzipFile does not get over
        self.read(offset - self._gzip.tell())
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            found = self._gzip.read(-1 if size is None else size)
        except EOFError:
            raise ConfigurationError(
                f"{self._name}: the gzip file is cut short, so its last rows are missing; copy it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error):
            raise ConfigurationError(
                f"{self._name}: the gzip file is damaged and can't be unpacked; copy it again"
            ) from None
        refuse_bomb(self._gzip.tell(), self._file.tell(), name=self._name)
        return found
