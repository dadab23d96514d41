"""
Files that are packed with gzip or zip, read as if they were not. May import: errors.

Their first bytes identify them, not their names. Nothing is unpacked whole: what is read is unpacked as
it is read, and going back to the start unpacks again.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from typing import IO, BinaryIO

from neto_async.errors import SourceError

__all__ = ["MAX_FREELY", "MAX_RATIO", "open_member", "refuse_bomb", "unpacked"]

_GZIP = b"\x1f\x8b"  # the first two bytes of a gzip file (RFC 1952, section 2.3.1)

MAX_FREELY = 256 * 1024 * 1024  # bytes that may come out of any file; what is longer must not be packed too well

MAX_RATIO = 200
"""Bytes unpacked for each one packed, at most. Tables of text reach 5 to 50, and a made-up bomb 1,000."""


def unpacked(file: BinaryIO, *, name: str, member: str | None = None) -> BinaryIO:
    """
    Give a file as it is before packing: a reader that unpacks where it is gzip, else the file itself.

    ``member`` is the file to read where it is a zip archive, and ``name`` what error texts call it.
    """
    if member is not None:
        return _Unzipping(file, name, member)  # type: ignore[return-value] # as below
    file.seek(0)
    if file.read(len(_GZIP)) != _GZIP:
        return file
    return _Unpacking(file, name)  # type: ignore[return-value] # what BinaryIO has beyond reading is never asked for


def refuse_bomb(unpacked_bytes: int, packed_bytes: int, *, name: str) -> None:
    """Raise `SourceError` where a file is long, and packed better than any table of text, to fill time and memory."""
    if unpacked_bytes > MAX_FREELY and unpacked_bytes > MAX_RATIO * packed_bytes:
        raise SourceError(
            f"{name}: it holds more than {MAX_RATIO} times its packed size, which no table does; unpack it and look "
            "at it"
        )


def open_member(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> IO[bytes]:
    """
    Open a file in a zip archive.

    Raises:
        NotImplementedError: It is packed in a rare way. The standard library unpacks bzip2 and LZMA
            without a bound: some hundred bytes become hundreds of megabytes in one step.
        RuntimeError: It has a password.
    """
    if about.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise NotImplementedError("a rare packing")
    return archive.open(about)


class _Unpacking(io.BufferedIOBase):
    """A gzip file, unpacked while it is read. Each fault in it is a `SourceError` that says so."""

    _kind = "gzip file"

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._start()

    def _start(self) -> None:
        self._file.seek(0)
        self._packed: gzip.GzipFile | IO[bytes] = self._opened()

    def _opened(self) -> gzip.GzipFile | IO[bytes]:
        return gzip.GzipFile(fileobj=self._file, mode="rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, _: int = io.SEEK_SET, /) -> int:
        if offset < self._packed.tell():
            self._start()  # also where the last reading ended in an error, which GzipFile does not get over
        self.read(offset - self._packed.tell())
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            found = self._packed.read(-1 if size is None else size)
        except EOFError:
            raise SourceError(
                f"{self._name}: the {self._kind} is cut short, so its last rows are missing; copy it again"
            ) from None
        except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error):
            raise SourceError(
                f"{self._name}: the {self._kind} is damaged and can't be unpacked; copy it again"
            ) from None
        refuse_bomb(self._packed.tell(), self._size(), name=self._name)
        return found

    def _size(self) -> int:
        return self._file.tell()


class _Unzipping(_Unpacking):
    """The one file of a zip archive."""

    _kind = "zip archive"

    def __init__(self, file: BinaryIO, name: str, member: str) -> None:
        self._member = member
        super().__init__(file, name)

    def _opened(self) -> IO[bytes]:
        archive = zipfile.ZipFile(self._file)
        self._about = archive.getinfo(self._member)
        try:
            return open_member(archive, self._about)
        except (RuntimeError, NotImplementedError):
            raise SourceError(f"{self._name}: the zip archive has a password or a rare packing; unpack it") from None

    def _size(self) -> int:
        return self._about.compress_size
