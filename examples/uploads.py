"""
Take an upload in: bounded in size and time, and read once, by `reading.py` in a process of its own.

In a folder, which is the upload's:

    upload, mapping.toml      what came in, and how its columns are read
    rows, plan.json           what the reader made of them

The service itself never reads an upload, only ``rows`` and ``plan.json``.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from examples.imports import KINDS, RefusedError
from examples.reading import DISK_FULL, REFUSED, restored
from neto_async import CustomerLog, InvalidRecordError
from neto_async.importing import ColumnMapping, Row

__all__ = ["CHUNK", "Limits", "StoredRows", "Uploads", "ending", "plan_in", "sync", "unkept"]

CHUNK = 1 << 18
"""Bytes of rows that are read at a time: some milliseconds of work in a thread."""

READER = (sys.executable, str(Path(__file__).with_name("reading.py")))
"""The command that reads an upload."""

MAX_NAME = 255
"""Characters of an upload's name."""

UNPACKED = 10
"""How many times larger than an upload may be its rows may be."""


@frozen(kw_only=True)
class Limits:
    """
    What uploads and imports may take of the machine.

    Attributes:
        upload_bytes: Of an upload.
        upload_seconds: How long an upload may take to arrive.
        uploads: Uploads that come in or are read at once; a further one is refused with 503.
        reader_bytes: Memory of the process that reads an upload.
        reader_seconds: How long it may take.
        readers: Such processes at once; further uploads wait.
        imports: Imports that are sent at once, each with a dozen open files; further ones wait.
    """

    upload_bytes: int = 100_000_000
    upload_seconds: float = 300
    uploads: int = 8
    reader_bytes: int = 256_000_000
    reader_seconds: int = 120
    readers: int = 2
    imports: int = 4


@frozen
class StoredRows:
    """The rows that the reader stored: logs, each with its row as context; a loop reads them in a thread, in chunks."""

    path: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        with self.path.open("rb") as file:
            yield from map(restored, file)

    async def __aiter__(self) -> AsyncIterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        with self.path.open("rb") as file:
            while pairs := await asyncio.to_thread(lambda: [restored(line) for line in file.readlines(CHUNK)]):
                for pair in pairs:
                    yield pair


class Uploads:
    """
    Takes uploads in, some at once.

    Args:
        limits: What they may take of the machine.
        reader: The command that reads one.
    """

    def __init__(self, limits: Limits, reader: Sequence[str] = READER) -> None:
        self._limits = limits
        self._reader = reader
        self._arriving = 0  # uploads that come in or are read
        self._deadlines: set[asyncio.Timeout] = set()
        self._readers: set[Process] = set()
        self._may_read = asyncio.Semaphore(limits.readers)
        self._closing = False

    def check(self, name: str) -> None:
        """
        Look whether there is a place for one, before it costs anything.

        Raises:
            RefusedError: There is none now, or the name is too long.
        """
        if self._closing:
            raise ending()
        if self._arriving >= self._limits.uploads:
            raise RefusedError("too many files are being uploaded; try again later", status=503, retry_after=10)
        if len(name) > MAX_NAME:
            raise RefusedError(f"the file's name is longer than {MAX_NAME} characters")

    async def take_in(self, folder: Path, name: str, pieces: AsyncIterable[bytes], mapping: ColumnMapping) -> None:
        """
        Store an upload as it comes, and what the reader makes of it; `check` comes just before.

        Args:
            folder: Of this upload alone; made here.
            name: Of the file; its ending says what kind it is.
            pieces: Its bytes.
            mapping: How its columns become logs.

        Raises:
            RefusedError: It is too large or too slow, or can't be imported.
            OSError: It can't be kept.
        """
        self._arriving += 1
        try:
            await asyncio.to_thread(folder.mkdir, mode=0o700)
            with (folder / "upload").open("xb") as file:
                await self._store(pieces, file)
            (folder / "mapping.toml").write_text(mapping.to_toml(), encoding="utf-8")
            async with self._may_read:
                await self._read(folder, name)
        finally:
            self._arriving -= 1

    def stop(self) -> None:
        """Take no more, and refuse those that are coming in: the process is going to end."""
        self._closing = True
        for deadline in self._deadlines:
            deadline.reschedule(0)
        for reader in self._readers:
            reader.kill()

    async def _store(self, pieces: AsyncIterable[bytes], file: IO[bytes]) -> None:
        size = 0
        deadline = asyncio.timeout(self._limits.upload_seconds)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                async for piece in pieces:
                    size += len(piece)
                    if size > self._limits.upload_bytes:
                        raise RefusedError(f"the file is larger than {self._limits.upload_bytes:,} bytes", status=413)
                    await asyncio.to_thread(file.write, piece)
        except TimeoutError:
            raise (ending() if self._closing else RefusedError("the upload took too long", status=408)) from None
        finally:
            self._deadlines.discard(deadline)
        await asyncio.to_thread(sync, file)

    async def _read(self, folder: Path, name: str) -> None:
        """Have an upload read in a process of its own, which is killed where it takes too long."""
        limits = self._limits
        bounds = map(str, (limits.reader_bytes, limits.reader_seconds, UNPACKED * limits.upload_bytes))
        reader = await asyncio.create_subprocess_exec(
            *(*self._reader, str(folder), json.dumps(name), *bounds),
            env={name: value for name, value in os.environ.items() if not name.startswith("NETO_")},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        self._readers.add(reader)
        try:
            async with asyncio.timeout(limits.reader_seconds):
                said, _ = await reader.communicate()
        except TimeoutError:
            said = b""
        finally:
            self._readers.discard(reader)
            with suppress(ProcessLookupError):
                reader.kill()
            await reader.wait()
        if self._closing:
            raise ending()
        if reader.returncode == REFUSED:
            raise RefusedError(for_callers(json.loads(said)))
        if reader.returncode == DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if reader.returncode != 0:
            raise RefusedError(f"{name}: it takes more time or memory to read than this service gives a file")


def for_callers(reason: str) -> str:
    """Add what helps here where the library names options of its command."""
    if " --" not in reason:
        return reason
    return f"{reason}. Here a kind of file (kind=…) takes the place of such options: {', '.join(KINDS) or 'none yet'}"


def plan_in(folder: Path) -> dict[str, Any]:
    """Read what the reader found out of an upload."""
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="ascii"))
    return plan


def ending() -> RefusedError:
    """Say that nothing more is taken."""
    return RefusedError("the service is ending; try again later", status=503, retry_after=10)


def unkept(error: OSError) -> RefusedError:
    """Say that something can't be kept, without the path that the system's own text names."""
    reason = f"the disk of this service fails: {error.strerror or type(error).__name__}"
    return RefusedError(reason, status=503, retry_after=60)


def sync(file: IO[Any]) -> None:
    """Have on disk what was written to a file."""
    file.flush()
    os.fsync(file.fileno())
