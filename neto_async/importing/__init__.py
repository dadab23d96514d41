"""
Many records: the sources they come from, the run that streams them, and the reports on them.

What a program needs in order to import files as the command does can be imported from here; it is loaded when it is
first asked for, since the client needs none of it. May import: sending, wire, models, outcomes, errors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neto_async.files.opening import FileFormat, RowFile, open_binary, open_rows
    from neto_async.files.rows import Row
    from neto_async.importing.plan import LogSource, Plan, make_plan
    from neto_async.importing.reports import Reports
    from neto_async.importing.run import ImportRun
    from neto_async.mapping.columns import ColumnMapping

__all__ = [
    "ColumnMapping",
    "FileFormat",
    "ImportRun",
    "LogSource",
    "Plan",
    "Reports",
    "Row",
    "RowFile",
    "make_plan",
    "open_binary",
    "open_rows",
]

_MODULES = {
    "files.opening": ("FileFormat", "RowFile", "open_binary", "open_rows"),
    "files.rows": ("Row",),
    "mapping.columns": ("ColumnMapping",),
    "importing.plan": ("LogSource", "Plan", "make_plan"),
    "importing.reports": ("Reports",),
    "importing.run": ("ImportRun",),
}
_MODULE_OF = {name: f"neto_async.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
