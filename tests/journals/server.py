"""A PostgreSQL server for tests: in a folder and on a port of its own, so that they may kill it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from attrs import define, field


def binaries() -> Path | None:
    """Give the folder of the server's programs, or None where there are none."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _new_folder() -> Path:
    # As the superuser the server runs as someone else, who may not enter a folder of TMPDIR.
    return Path(tempfile.mkdtemp(prefix="pg", dir="/tmp" if os.geteuid() == 0 else None))


@define
class Server:
    """One server, or its standby."""

    programs: Path
    folder: Path = field(factory=_new_folder)
    port: int = field(factory=free_port)

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=owner"

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        if os.geteuid() == 0:  # the server refuses to run as the superuser
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
            shutil.chown(self.folder, "postgres", "postgres")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)

    def make(self) -> None:
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "owner", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"
        )
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c wal_writer_delay=10s"
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", how, "-w", "stop")

    def promoted_copy(self) -> Server:
        """Give a server that was a standby of this one, and was promoted."""
        copy = Server(self.programs)
        copy._run("pg_basebackup", "-D", copy.folder / "data", "-d", self.conninfo, "-R", "-c", "fast", "--no-sync")
        copy.start()
        copy._run("pg_ctl", "-D", copy.folder / "data", "-w", "promote")
        return copy

    def remove(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, *statements: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run statements as the owner of everything; give the rows of the last one."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


class Proxy:
    """Between a client and a server: cuts the connection before or after the next request that holds some bytes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None
        self.always = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def conninfo(self) -> str:
        return self._server.conninfo.replace(f"port={self._server.port}", f"port={self._listening.getsockname()[1]}")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server.port))
                self._pairs.append((client, server))
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while request := client.recv(1 << 20):
                if self.cut_before is not None and self.cut_before in request:
                    self.cut_before = self.cut_before if self.always else None
                    client.shutdown(socket.SHUT_RDWR)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                if self.cut_after is not None and self.cut_after in request:
                    self.cut_after = None
                    server.sendall(request)
                    client.shutdown(socket.SHUT_RDWR)  # the answer goes nowhere
                    return
                server.sendall(request)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(1 << 20):
                with suppress(OSError):
                    client.sendall(answer)
        with suppress(OSError):
            client.close()

    def close(self) -> None:
        for one in (self._listening, *(end for pair in self._pairs for end in pair)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()
