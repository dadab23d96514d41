"""
What a power cut leaves of files that SQLite writes.

SQLite syncs in C, below anything that Python could wrap, so its own file layer (the VFS) is wrapped, through ctypes on
the library that the module ``sqlite3`` uses. What is written, cut, synced and deleted is noted in its order; from that
follows what a disk can hold after any instant: what was synced, and of the rest any sectors and any of the names.
"""

from __future__ import annotations

import ctypes
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, cast
from pathlib import Path

from attrs import frozen

__all__ = ["Deleted", "Disk", "Mark", "NoLibrary", "Step", "Synced", "Truncated", "Written", "noted"]

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


@frozen
class Written:
    """Bytes at a place."""

    name: str
    offset: int
    content: bytes


@frozen
class Truncated:
    """A file's new length."""

    name: str
    size: int


@frozen
class Synced:
    """All of a file, its name included."""

    name: str


@frozen
class Deleted:
    """A name that is there no more."""

    name: str


@frozen
class Mark:
    """An instant that a test wants to find again."""

    said: object


Step = Written | Truncated | Synced | Deleted | Mark


class NoLibrary(Exception):  # noqa: N818 - it is no fault
    """The library of ``sqlite3`` can't be reached from here."""


# -- noting -----------------------------------------------------------------------------------------------------

# Names are handed through as addresses: SQLite keeps the pointer for as long as the file is open.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    """The struct sqlite3_vfs of sqlite3.h; what is not touched stays without a type."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("application", c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        ("rest", c_void_p * 14),
    )


class _Methods(Structure):
    """The struct sqlite3_io_methods of sqlite3.h."""

    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("rest", c_void_p * 13),
    )


class _File(Structure):
    _fields_ = (("methods", POINTER(_Methods)),)


def _library() -> ctypes.CDLL:
    sqlite3.connect(":memory:").close()
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8").split()
    except OSError:
        raise NoLibrary("there is no /proc/self/maps that names the library of sqlite3") from None
    for path in mapped:
        if "libsqlite3" in path:
            return ctypes.CDLL(path)
    raise NoLibrary("the module sqlite3 has its library built in")


def _name_at(address: int) -> str:
    return Path(ctypes.string_at(address).decode()).name


class _Noting:
    """A copy of SQLite's file layer that notes what it does."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._library = _library()
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
        self._library.sqlite3_vfs_unregister.argtypes = [POINTER(_Vfs)]
        self._original = self._library.sqlite3_vfs_find(None)
        self._files: dict[int, tuple[str, _Methods]] = {}  # by address: name, and what SQLite does with it
        self._tables: dict[int, tuple[_Methods, _Methods]] = {}  # by the address of the original: it, and ours
        self._vfs = _Vfs.from_buffer_copy(self._original.contents)
        self._vfs.name = b"noting"
        self._vfs.open = self._opened = _Open(self._open)
        self._vfs.delete = self._deleted = _Delete(self._delete)
        self._written, self._truncated, self._synced = _Write(self._write), _Truncate(self._truncate), _Sync(self._sync)

    def begin(self) -> None:
        self._library.sqlite3_vfs_register(byref(self._vfs), 1)

    def end(self) -> None:
        self._library.sqlite3_vfs_unregister(byref(self._vfs))
        self._library.sqlite3_vfs_register(self._original, 1)

    def _open(self, _: int, name: int | None, file: int, flags: int, out: int) -> int:
        code: int = self._original.contents.open(self._original, name, file, flags, out)
        if code == 0 and name:
            opened = cast(file, POINTER(_File)).contents
            address = cast(opened.methods, c_void_p).value or 0
            if address not in self._tables:
                own = _Methods.from_buffer_copy(opened.methods.contents)
                own.write, own.truncate, own.sync = self._written, self._truncated, self._synced
                self._tables[address] = (_Methods.from_address(address), own)
            original, own = self._tables[address]
            self._files[file] = (_name_at(name), original)
            opened.methods = ctypes.pointer(own)
        return code

    def _delete(self, _: int, name: int, sync: int) -> int:
        self._steps.append(Deleted(_name_at(name)))
        code: int = self._original.contents.delete(self._original, name, sync)
        return code

    def _write(self, file: int, content: int, size: int, offset: int) -> int:
        name, original = self._files[file]
        self._steps.append(Written(name, offset, ctypes.string_at(content, size)))
        code: int = original.write(file, content, size, offset)
        return code

    def _truncate(self, file: int, size: int) -> int:
        name, original = self._files[file]
        self._steps.append(Truncated(name, size))
        code: int = original.truncate(file, size)
        return code

    def _sync(self, file: int, flags: int) -> int:
        name, original = self._files[file]
        code: int = original.sync(file, flags)
        self._steps.append(Synced(name))
        return code


@contextmanager
def noted(steps: list[Step]) -> Iterator[None]:
    """
    Note what SQLite does to files that are opened meanwhile.

    Raises:
        NoLibrary: That can't be done here.
    """
    noting = _Noting(steps)
    noting.begin()
    try:
        yield
    finally:
        noting.end()


# -- what is left -----------------------------------------------------------------------------------------------


class Disk:
    """
    What a disk holds for certain, and what it may hold besides.

    Args:
        files: By name, what is there for certain at the beginning.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self._certain = dict(files)
        self._pending: dict[str, list[Step]] = {}  # by name, what was done since it was synced

    def follow(self, steps: Sequence[Step]) -> None:
        """Do what was noted."""
        for step in steps:
            match step:
                case Synced(name=name):
                    self._certain[name] = _content(self._last(name), self._since_deletion(name))
                    self._pending[name] = []
                case Mark():
                    pass
                case _:
                    self._pending.setdefault(step.name, []).append(step)

    def after_a_cut(self, draw: random.Random | None) -> dict[str, bytes]:
        """Give the files as a power cut may leave them; without a draw, with nothing that was not synced."""
        left = dict(self._certain)
        for name, pending in self._pending.items():
            if draw is None or not pending:
                continue
            for part, number in _parts(pending, draw):
                if number:
                    left.pop(name, None)  # a deletion reached the disk
                if part or number == 0:
                    kept = list(_kept(part, draw))
                    if kept or name in left:
                        left[name] = _content(left.get(name, b""), kept)
        return left

    def _last(self, name: str) -> bytes:
        deleted = any(isinstance(step, Deleted) for step in self._pending.get(name, ()))
        return b"" if deleted else self._certain.get(name, b"")

    def _since_deletion(self, name: str) -> list[Step]:
        steps = self._pending.get(name, [])
        places = [place for place, step in enumerate(steps) if isinstance(step, Deleted)]
        return steps[places[-1] + 1 :] if places else steps


def _parts(pending: Sequence[Step], draw: random.Random) -> Iterator[tuple[list[Step], int]]:
    """Give what was done to a name between its deletions, as far as they reached the disk, with their number."""
    parts: list[list[Step]] = [[]]
    for step in pending:
        if isinstance(step, Deleted):
            parts.append([])
        else:
            parts[-1].append(step)
    number = draw.randrange(len(parts))
    yield from zip(parts[: number + 1], range(number + 1), strict=True)


def _kept(steps: Sequence[Step], draw: random.Random) -> Iterator[Step]:
    """Draw what of some steps reached the disk: none, all, the first of them, or any, each torn at its sectors."""
    pieces = [piece for step in steps for piece in _sectors(step)]
    match draw.randrange(4):
        case 0:
            pass
        case 1:
            yield from pieces
        case 2:
            yield from pieces[: draw.randrange(len(pieces) + 1)]
        case _:
            share = draw.random()
            yield from (piece for piece in pieces if draw.random() < share)


def _sectors(step: Step) -> Iterator[Step]:
    if not isinstance(step, Written):
        yield step
        return
    start, stop = step.offset, step.offset + len(step.content)
    while start < stop:
        next_start = min(stop, (start // SECTOR + 1) * SECTOR)
        yield Written(step.name, start, step.content[start - step.offset : next_start - step.offset])
        start = next_start


def _content(content: bytes, steps: Sequence[Step]) -> bytes:
    made = bytearray(content)
    for step in steps:
        match step:
            case Written(offset=offset, content=piece):
                made.extend(b"\0" * (offset - len(made)))
                made[offset : offset + len(piece)] = piece
            case Truncated(size=size):
                del made[size:]
                made.extend(b"\0" * (size - len(made)))
    return bytes(made)
