"""
Proxies and certificates, as the environment names them. May import: errors.

No text here repeats a value: a proxy's address may hold a password.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from neto_async.errors import ConfigurationError

__all__ = ["certificates_variable", "check_certificates", "proxy_for"]

SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
"""Schemes of proxies that httpx can use."""


def proxy_for(url: str, read: Callable[[str], object], *, networks: bool = True) -> str | None:
    """
    Find the address of the proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a URL.

    ``read`` is the HTTP library's own reading of an address, which raises where it can't. Without ``networks``, entries
    of NO_PROXY such as ``10.0.0.0/8`` do not count, as in httpx.

    Raises:
        ConfigurationError: A variable can't be used; the text names it.
    """
    try:
        return _proxy_for(url, read, networks=networks)
    except ConfigurationError as error:
        fault = str(error)
    raise ConfigurationError(fault)  # anew: its traceback has no frame that holds a password


def _proxy_for(url: str, read: Callable[[str], object], *, networks: bool) -> str | None:
    target = urlsplit(url)
    proxies = getproxies()  # which is what httpx asks: on macOS and Windows the system's settings come after
    kind = target.scheme if proxies.get(target.scheme) else "all"
    address = proxies.get(kind)
    if not address:
        return None
    port = target.port or {"http": 80, "https": 443}[target.scheme]
    for entry in proxies.get("no", "").split(","):
        if _excepts(entry.strip().lower(), target.hostname or "", port, networks=networks):
            return None
    return _checked(address if "://" in address else f"http://{address}", read, _variable(kind))


def certificates_variable() -> str | None:
    """Name the variable that says which certificates to trust, None where there is none."""
    return next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)


def check_certificates() -> None:
    """Raise `ConfigurationError` where what SSL_CERT_FILE or SSL_CERT_DIR names is not there."""
    name = certificates_variable()
    if name is None:
        return
    path = Path(os.environ[name])
    if not (path.is_file() if name == "SSL_CERT_FILE" else path.is_dir()):
        what = "file" if name == "SSL_CERT_FILE" else "folder"
        raise ConfigurationError(f"the environment variable {name} names no {what} that is there")


def _excepts(entry: str, host: str, port: int, *, networks: bool) -> bool:
    """Say whether an entry of NO_PROXY takes a host out."""
    entry = entry.rpartition("://")[2]
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        if "/" in entry:
            text = f"{_variable('no')} has an entry with a slash that is no network, such as 10.0.0.0/8"
            raise ConfigurationError(text) from None
    else:
        return (networks or network.num_addresses == 1) and _is_in(host, network)
    name, colon, its_port = entry.rpartition(":")
    if colon and its_port.isdigit():
        if int(its_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").lstrip("*.")
    return bool(entry) and f".{host}".endswith(f".{entry}")


def _is_in(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _checked(address: str, read: Callable[[str], object], variable: str) -> str:
    form = "give it as http://user:password@host:port, with / in a password as %2F"
    try:
        parts = urlsplit(address)
        whole = (
            bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"} and not (parts.query or parts.fragment)
        )
        read(address)
    except Exception:  # noqa: BLE001 - the error's class is the library's, and its text may hold a piece of a password
        whole = False
    if not whole:
        raise ConfigurationError(f"{variable} can't be read as a proxy's address: {form}")
    scheme = address.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ConfigurationError(
            f"{variable} names a kind of proxy that can't be used: {form}, or as socks5://host:port"
        )
    if scheme.startswith("socks5") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(f"{variable} names a SOCKS proxy, which needs a package: pip install 'httpx[socks]'")
    return address


def _variable(kind: str) -> str:
    names = (f"{kind}_proxy", f"{kind}_proxy".upper())
    found = next((name for name in names if os.environ.get(name)), None)
    return "the system's proxy setting" if found is None else f"the environment variable {found}"
