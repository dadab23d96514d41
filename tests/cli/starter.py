"""
The command in processes of its own, started quickly.

Run as a program it takes one order a line from standard input. For each it makes a process that is the command, says
its number, and when it has ended its exit code and what it wrote. The processes are forked from one that has everything
imported and has no thread and no event loop yet, since most of the time of a fresh one would go into its imports.

What an order may ask for: a terminal; streams that are closed, a file, or a pipe that nobody reads; a limit on the
length of the files that it writes; that modes of files bind it, though it is root.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

import anyio._backends._asyncio  # noqa: F401 (what httpx imports at its first call)
import httpcore  # noqa: F401 (as above)

import neto_async.cli.commands
import neto_async.sandbox  # noqa: F401 (imported by the command only when it is asked for)
from neto_async.cli import main

PROGRAM = "import sys; sys.argv[0] = 'neto-async'; from neto_async.cli import main; main()"
BOUNDING_SET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2  # prctl(2), capabilities(7)


def become(order: dict[str, Any], pipes: list[int]) -> None:
    """Be the process that the order asks for."""
    # Whoever runs the tests in the background, or by nohup, may have these ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.update(order["environment"])
    if order["terminal"] is not None:
        os.login_tty(os.open(order["terminal"], os.O_RDWR))
    else:
        _connect(0, order["stdin"])
        for descriptor, name in ((1, "out"), (2, "err")):
            if order[name] == "read":
                os.dup2(pipes[descriptor - 1], descriptor)
            else:
                _connect(descriptor, order[name])
    for pipe in pipes:
        os.close(pipe)
    if order["longest_file"] is not None:
        # A module compiled into a file that ends too early could never be imported again.
        sys.dont_write_bytecode = True
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["longest_file"], before[1]))
        # What measures the tests writes a file of its own when the command has ended.
        atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    if order["bound_by_modes"]:
        # What a process may do is counted anew when it begins a program.
        for right in (DAC_OVERRIDE, DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(BOUNDING_SET_DROP, right, 0, 0, 0)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *order["words"]])
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    sys.argv = ["neto-async", *order["words"]]
    main()


def _connect(descriptor: int, path: str | None) -> None:
    if path is None:
        os.close(descriptor)
    elif path == "nobody reads":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, descriptor)
    else:
        os.dup2(os.open(path, os.O_WRONLY if descriptor else os.O_RDONLY), descriptor)


def _stream(descriptor: int, mode: str) -> Any:
    """Make anew what Python made for the streams of the first process; None where it is closed, as it does."""
    try:
        return open(descriptor, mode, encoding=os.environ.get("PYTHONIOENCODING", "utf-8"), closefd=False)
    except OSError:
        return None


def _orders() -> Iterator[tuple[dict[str, Any], int]]:
    """Give each order, and the descriptor of its answer; a process takes neither along."""
    answers = os.dup(1)
    with os.fdopen(os.dup(0), encoding="utf-8") as orders:
        for line in orders:
            yield json.loads(line), answers


def serve() -> None:
    """Carry out orders until there are no more."""
    gc.collect()
    gc.freeze()  # or each process would copy the pages of all that is imported
    for order, answers in _orders():
        ends = [os.pipe(), os.pipe()]
        process = os.fork()
        if not process:
            for reading, _ in ends:
                os.close(reading)
            become(order, [writing for _, writing in ends])
            return
        os.write(answers, b"%d\n" % process)
        for _, writing in ends:
            os.close(writing)
        out, err = _read([reading for reading, _ in ends])
        _, status = os.waitpid(process, 0)
        ended = {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err}
        os.write(answers, json.dumps(ended).encode() + b"\n")


def _read(pipes: list[int]) -> list[str]:
    """Read pipes to their ends, and close them."""
    found = {pipe: bytearray() for pipe in pipes}
    left = set(pipes)
    while left:
        for pipe in select.select(left, [], [])[0]:
            piece = os.read(pipe, 1 << 16)
            found[pipe] += piece
            if not piece:
                os.close(pipe)
                left.discard(pipe)
    return [found[pipe].decode() for pipe in pipes]


if __name__ == "__main__":
    serve()
