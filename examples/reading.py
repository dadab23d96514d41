"""
Read an upload in a process of its own, with limits on time and memory: a hostile file can only end this process.

`uploads.py` runs it as a script. It writes two files that the service can trust into the upload's folder:

    rows       a JSON array for each row: line, columns, cells, fault, raw text, and the log or what is wrong with it
    plan.json  what a person sees before anything is sent, and how reports are written

Exit codes: 0, or `REFUSED` with the reason on standard output, or `DISK_FULL`.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import date, datetime, timezone, tzinfo
from pathlib import Path
from typing import Any

from attrs import asdict

from neto_async import CustomerLog, InvalidRecordError, NetoError
from neto_async.importing import ColumnMapping, LogSource, Plan, Row, RowFile, make_plan, open_binary, open_rows

try:
    import resource
except ImportError:  # Windows: there the service's own limit on time is all there is
    resource = None  # type: ignore[assignment]

REFUSED = 3
DISK_FULL = 4

FIRST_FAULTS = 10
"""Invalid rows that a preview lists."""

MAX_ROW = 1 << 22
"""Characters of a row as JSON."""

MAX_PLAN = 1 << 20
"""Characters of plan.json, which a very wide file would make long."""

MAX_SHOWN = 5_000
"""Characters of a field that a person sees before it is sent."""

MAX_REASON = 1000
"""Characters of the reason for which a file is refused."""

FIELDS = ("line", "columns", "cells", "fault", "raw")
"""Of a `Row`, in the order of a line in ``rows``."""


class TooWideError(Exception):
    """A row, or what is to be said of the file, is longer than the service takes."""


def main() -> int:
    """Read the upload in a folder; arguments: folder, file name as JSON, bytes, seconds, bytes written."""
    folder, name, memory, seconds, written = Path(sys.argv[1]), json.loads(sys.argv[2]), *map(int, sys.argv[3:])
    limit(memory, seconds, written)
    try:
        read(folder, name)
    except NetoError as error:
        return refuse(str(error))
    except TooWideError as error:
        return refuse(f"{name}: {error}")
    except MemoryError:
        return refuse(f"{name}: it takes more memory to read than this service gives a file")
    except OSError as error:
        if error.errno == errno.EFBIG:
            return refuse(f"{name}: it holds more than this service takes")
        return DISK_FULL
    except Exception as error:  # noqa: BLE001 - whatever a hostile file brings about
        return refuse(f"{name}: it can't be read ({type(error).__name__})")
    return 0


def limit(memory: int, seconds: int, written: int) -> None:
    """Bound this process: bytes of memory, seconds of processor time, and bytes of a file that it writes."""
    sys.dont_write_bytecode = True  # a module compiled into a file that ends too early could never be imported again
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
        os.nice(10)  # the service, which answers people and the store, goes first


def refuse(reason: str) -> int:
    """Print why the file can't be imported."""
    print(json.dumps(reason[:MAX_REASON]))
    return REFUSED


def read(folder: Path, name: str) -> None:
    """Write ``rows`` and ``plan.json``."""
    mapping = ColumnMapping.from_toml(folder / "mapping.toml")
    with open_binary(folder / "upload") as file, (folder / "rows").open("x", encoding="ascii") as rows:
        opened = open_rows(file, name=name, **mapping.file)
        plan = make_plan(opened, mapping, import_unknown=False)
        text = json.dumps(described(plan, opened))
        if len(text) > MAX_PLAN:
            raise TooWideError(f"{len(plan.columns):,} columns are more than this service takes")
        for log, row in LogSource(file=opened, plan=plan):
            line = json.dumps([*(getattr(row, field) for field in FIELDS), stored(log)], default=str)
            if len(line) > MAX_ROW:
                raise TooWideError(f"line {row.line} is longer than this service takes")
            rows.write(line + "\n")
        rows.flush()
        os.fsync(rows.fileno())
    with (folder / "plan.json").open("x", encoding="ascii") as file_of_plan:
        file_of_plan.write(text)
        file_of_plan.flush()
        os.fsync(file_of_plan.fileno())


def described(plan: Plan, file: RowFile) -> dict[str, Any]:
    """Say what is going to be sent, and how reports are written."""
    plain = file.encoding is not None and file.encoding.label == "UTF-8"
    return {
        "rows": plan.rows,
        "valid": plan.valid,
        "columns": dict(plan.mapping.columns),
        "ignored": plan.ignored,
        "samples": [
            {name: shown(value, plan.mapping.timezone) for name, value in asdict(log).items() if value is not None}
            for log in plan.samples
        ],
        "faults": ["; ".join(errors)[:MAX_SHOWN] for errors in plan.faults[:FIRST_FAULTS]],
        "reports": {"columns": plan.columns, "delimiter": file.delimiter or ",", "mark": not plain},
    }


def shown(value: Any, zone: tzinfo | None) -> str:
    """Give a field as a person reads it, a time in UTC and in the file's zone."""
    if not isinstance(value, datetime):
        text = str(value)
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"
    text = f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    place = str(zone or "UTC").rpartition("/")[2].replace("_", " ")
    return text if place == "UTC" else f"{text} ({value.astimezone(zone):%H:%M} {place})"


def stored(log: CustomerLog | InvalidRecordError) -> list[str] | dict[str, str]:
    """Give a log's fields, or what is wrong with it."""
    if isinstance(log, InvalidRecordError):
        return list(log.errors)
    fields = {name: value for name, value in asdict(log).items() if value is not None}
    return {name: value.isoformat() if isinstance(value, date) else str(value) for name, value in fields.items()}


def restored(line: bytes) -> tuple[CustomerLog | InvalidRecordError, Row]:
    """Read a line of ``rows`` again."""
    *fields, log = json.loads(line)
    given = dict(zip(FIELDS, fields, strict=True))
    row = Row(**{**given, "columns": tuple(given["columns"]), "cells": tuple(given["cells"])})
    if isinstance(log, list):
        return InvalidRecordError(tuple(log)), row
    for name, kind in (("last_contacted", datetime), ("date_required_follow_up", date)):
        if name in log:
            log[name] = (datetime if "T" in log[name] else kind).fromisoformat(log[name])
    return CustomerLog(**log), row


if __name__ == "__main__":
    sys.exit(main())
