"""Redis and PostgreSQL for a question, in folders and on ports of their own. May import: the standard library alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NO_POSTGRESQL", "NO_REDIS", "find_postgresql", "find_redis", "running_postgresql", "running_redis"]

NO_REDIS = "there is no redis-server on the path"
NO_POSTGRESQL = "there is no initdb on the path or in /usr/lib/postgresql"


def find_redis() -> str | None:
    """Give the server's program, or None where it is not installed."""
    return shutil.which("redis-server")


def find_postgresql() -> Path | None:
    """Give the folder of the server's programs, or None where it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running_redis(program: str) -> Iterator[str]:
    """Run a server that keeps nothing on disk, and give its address."""
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--dir", folder], stdout=subprocess.PIPE, text=True) as process,  # noqa: S603
    ):
        assert process.stdout is not None  # noqa: S101
        try:
            if not any("Ready to accept connections" in line for line in process.stdout):
                raise RuntimeError("redis-server did not start")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


@contextmanager
def running_postgresql(programs: Path) -> Iterator[str]:
    """Run a server as it is delivered, which waits for the disk at each commit, and give its connection string."""
    port = _free_port()
    # As the superuser the server runs as someone else, who may not enter a folder of TMPDIR.
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp" if superuser else None) as folder:  # noqa: S108

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", f"{folder}/data", *arguments]
            if superuser:
                command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")  # noqa: S603

        if superuser:
            shutil.chown(folder, "postgres", "postgres")
        run("initdb", "-U", "owner", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        run("pg_ctl", "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield f"host=127.0.0.1 port={port} dbname=postgres user=owner"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
