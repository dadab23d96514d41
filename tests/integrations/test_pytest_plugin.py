"""The pytest plugin in runs of pytest of their own, as a stranger's project has them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from textwrap import dedent

import pytest

if not entry_points(group="pytest11", name="neto_async"):  # pragma: no cover
    pytest.skip("the project was installed before it had a plugin: install it again", allow_module_level=True)

pytest_plugins = ["pytester"]

NO_LOOPS = ("-p", "no:asyncio", "-p", "no:anyio")
ASYNCIO = ("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function", "-o")

APP = """
import asyncio
import os

import pytest

from neto_async import AsyncNetoClient, NetoError, OutcomeUnknownError


async def note(text):
    async with AsyncNetoClient.from_env() as neto:
        return await neto.add_customer_log({"notes": text})
"""

THREE_CASES = """
async def test_doubt(neto_store):
    neto_store.faults.next("answer lost")
    with pytest.raises(OutcomeUnknownError):
        await note("x")
    neto_store.assert_each_once([{"notes": "x"}])


async def test_pause(neto_time, neto_store):
    neto_store.faults.next("rate limited")
    await note("x")
    assert neto_time.skipped > 59


async def test_key(make_neto_store):
    make_neto_store(partial=True).faults.always("key refused")
    with pytest.raises(NetoError, match="key"):
        await note("x")
"""

FAILING = """
def test_that_fails(neto_store, make_neto_store):
    make_neto_store(api_key="CANARY-KEY")
    neto_store.faults.next("answer lost")
    os.environ.update(NETO_STORE_URL=neto_store.url, NETO_API_KEY=neto_store.api_key)
    with pytest.raises(OutcomeUnknownError):
        asyncio.run(note("CANARY-TEXT"))
    neto_store.assert_each_once([])
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Run pytest on a file in a process of its own, where every warning is an error: nothing may be left open."""

    def run_on(*parts: str, arguments: tuple[str, ...] = NO_LOOPS) -> pytest.RunResult:
        pytester.makeini("[pytest]")  # or the settings of a folder above would count
        pytester.makepyfile("\n".join(dedent(part) for part in parts))
        return pytester.runpytest_subprocess("-W", "error", *arguments)

    return run_on


@pytest.mark.parametrize(
    ("marks", "arguments"),
    [
        pytest.param("pytestmark = pytest.mark.asyncio", (*ASYNCIO, "asyncio_mode=strict"), id="asyncio"),
        pytest.param("", (*ASYNCIO, "asyncio_mode=auto"), id="asyncio-auto", marks=pytest.mark.thorough),
        pytest.param(
            "pytestmark = pytest.mark.anyio\nanyio_backend = pytest.fixture(lambda: 'asyncio')",
            ("-p", "no:asyncio"),
            id="anyio",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_the_three_cases_under_each_plugin(run, marks, arguments):
    """Doubt, a pause and a refused key are tested alike, whoever runs the loop."""
    run(APP, marks, THREE_CASES, arguments=arguments).assert_outcomes(passed=3)


@pytest.mark.thorough
def test_without_a_plugin_for_loops(run):
    """Plain tests have the fixtures too, and run loops of their own."""
    result = run(
        APP,
        """
        def test_pause(neto_store, neto_time):
            neto_store.faults.next("rate limited")
            asyncio.run(note("x"))
            neto_store.assert_each_once([{"notes": "x"}])
        """,
    )
    result.assert_outcomes(passed=1)


def test_nothing_outlives_its_test(run):
    """The environment, the clock of clients and the store's thread are as they were when the test has ended."""
    result = run(
        """
        import os
        import threading

        from neto_async.sending.clock import clock_in_use

        def test_one(neto_store, make_neto_store, neto_time):
            make_neto_store()
            assert threading.active_count() == 3
            assert clock_in_use() is not None

        def test_two():
            assert "NETO_STORE_URL" not in os.environ
            assert threading.active_count() == 1
            assert clock_in_use() is None
        """
    )
    result.assert_outcomes(passed=2)


def test_a_failed_test_shows_what_the_stores_saw(run):
    """The report has the calls of each store in numbers; neither key nor text, whatever the test left in its locals."""
    result = run(APP, FAILING, arguments=(*NO_LOOPS, "--showlocals"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*the store does not hold each log once:",
            "E*not expected: log 1001",
            "*Captured neto_store call*",
            "<NetoStore at http://127.0.0.1:*: 1 logs, 1 calls>",
            "call 1: 1 records, 1 saved, reset (fault: Reset after saving)",
            "*Captured neto_store call*",
            "<NetoStore at http://127.0.0.1:*: 0 logs, 0 calls>",
        ]
    )
    said = [line for line in result.outlines if not line.startswith((">", " "))]  # the rest is the test's own source
    assert "CANARY" not in "".join(said)


UNCAUGHT = """
TEXT, KEY = "CANARY" + "-TEXT", "CANARY" + "-KEY"


async def note_it(times):
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log({"username": TEXT * times})  # called here


def test_refused(neto_store):
    neto_store.faults.next("refused")
    asyncio.run(note_it(1))


def test_invalid(neto_store):
    asyncio.run(note_it(9))


def test_key(neto_store):
    AsyncNetoClient(neto_store.url, api_key=KEY + chr(1))  # called here


def test_wrapped(neto_store):
    neto_store.faults.next("refused")
    try:
        asyncio.run(note_it(1))
    except NetoError as error:
        raise RuntimeError("of the test's own") from error
"""


def test_an_uncaught_error_shows_neither_text_nor_key(run):
    """The traceback of one of our errors ends where the client was called: no arguments of frames of ours."""
    result = run(APP, UNCAUGHT)
    result.assert_outcomes(failed=4)
    assert 4 == sum(line.startswith(">") and line.endswith("# called here") for line in result.outlines)
    assert "CANARY-" not in "".join(result.outlines)


@pytest.mark.thorough
def test_the_whole_traceback_is_there_for_who_asks(run):
    """With --full-trace frames of ours are shown, and so they are in errors that are not ours."""
    said = "\n".join(run(APP, UNCAUGHT, arguments=(*NO_LOOPS, "--full-trace", "-k", "refused")).outlines)
    assert "CANARY-TEXT" in said
    said = "\n".join(run(APP, "def test(neto_store):\n    neto_store.call(lambda: 1 / 0)").outlines)
    assert "return asyncio.run_coroutine_threadsafe(" in said


@pytest.mark.thorough
def test_a_passed_test_shows_nothing(run):
    """What the stores saw is notified of failures alone."""
    result = run("def test_one(neto_store):\n    pass", arguments=(*NO_LOOPS, "-rA"))
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*NetoStore*")


def test_a_missing_extra_is_reported_in_a_sentence(run, pytester):
    """Without aiohttp a test that asks for a store is an error of one sentence, and the others run."""
    pytester.makeconftest("import sys; sys.modules['aiohttp'] = None")
    result = run(
        """
        def test_a_store(neto_store):
            pass

        def test_time_alone(neto_time):
            pass

        def test_neither():
            pass
        """
    )
    result.assert_outcomes(errors=1, passed=2)
    assert ['the sandbox needs aiohttp: pip install "neto_async[sandbox]"'] == [
        line for line in result.outlines if line.startswith("the sandbox")
    ]
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_plugin_imports_little():
    """A run of pytest that asks for no fixture imports neither the client nor the store, nor what they are built on."""
    rooms = {f"neto_async.{room}" for room in ("client", "importing", "sending", "wire", "sandbox")}
    heavy = rooms | {"httpx", "aiohttp", "xmltodict", "asyncio"}
    program = f"import sys, neto_async.integrations.pytest; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert ("[]\n", "") == (ended.stdout, ended.stderr)
