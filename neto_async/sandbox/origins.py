"""
Detect requests that come from another site's page.

A stranger's page can make a name point at this machine (DNS rebinding) or post here from its own origin. May import:
nothing of neto_async.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["is_foreign"]


def is_foreign(headers: Mapping[str, str], own_name: str) -> bool:
    """Say whether a request to a sandbox that listens on this name may come from another site's page."""
    host, origin = headers.get("Host", "").lower(), headers.get("Origin")
    return not _is_ours(host, own_name.lower()) or (origin is not None and _place(origin) != host)


def _is_ours(host: str, own_name: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name in {"localhost", own_name} or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _place(origin: str) -> str:
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return ""
