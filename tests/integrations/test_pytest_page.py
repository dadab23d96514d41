"""The page on testing: its files are a project whose tests pass, and fail where they should."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from neto_async.integrations.testing import FAULTS

if not entry_points(group="pytest11", name="neto_async"):  # pragma: no cover
    pytest.skip("the project was installed before it had a plugin: install it again", allow_module_level=True)

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```python title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
TESTS = sum(text.count("def test_") for text in FILES.values())
(REPORT,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Run the page's tests on its module, or on another; every warning is an error."""

    def run_on(module: str, *arguments: str) -> pytest.RunResult:
        pytester.makeini("[pytest]")  # or the settings of a folder above would count
        for name, text in {**FILES, "calls.py": module}.items():
            (pytester.path / name).write_text(text, encoding="utf-8")
        loops = ("-o", "asyncio_default_fixture_loop_scope=function")
        return pytester.runpytest_subprocess("-W", "error", *loops, *arguments)

    return run_on


def test_the_pages_tests_pass(run):
    """What the page says to write is all that is needed."""
    run(FILES["calls.py"]).assert_outcomes(passed=TESTS)


def test_the_test_on_the_page_on_fastapi_passes(pytester):
    """The service that the page begins with passes the test that it ends with."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "fastapi.md").read_text(encoding="utf-8")
    blocks = re.findall(r'^```python(?: title="test_service.py")?\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    pytester.makeini("[pytest]")
    pytester.makepyfile(service=blocks[0], test_service=blocks[-1])
    loops = ("-o", "asyncio_default_fixture_loop_scope=function")
    pytester.runpytest_subprocess("-W", "error", *loops).assert_outcomes(passed=1)


@pytest.mark.thorough
def test_the_pages_tests_find_what_they_are_for(run):
    """An integration that tries again whatever went wrong adds twice, and the report says so as on the page."""
    doubt = 'return "look in the store"'
    again = f"await neto.add_customer_log(as_log(call))\n        {doubt}"
    result = run(FILES["calls.py"].replace(doubt, again))
    result.assert_outcomes(passed=TESTS - 1, failed=1)
    said = [re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8765", line) for line in result.outlines]
    for part in REPORT.split("...\n"):
        assert part in "\n".join([*said, ""])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("notes=call", "customer_name=call"),
        ("give_up_after=120", "give_up_after=30"),
        ("except NotSentError", "except ZeroDivisionError"),
        ("except (InvalidRecordError, RejectedError)", "except InvalidRecordError"),
        ("journal=journal", "journal=None"),
        ("isinstance(outcome, Unknown)", "False"),
    ],
)
def test_each_of_the_pages_tests_can_fail(run, right, wrong):
    """A mistake in the integration is found by one of the tests at the least."""
    assert FILES["calls.py"].count(right) == 1
    result = run(FILES["calls.py"].replace(right, wrong), "-x")
    assert result.parseoutcomes().get("failed") == 1


def test_the_page_names_every_fault():
    """The table has the names that there are, and no other."""
    assert list(FAULTS) == re.findall(r'^\| `"([\w ]+)"` \|', PAGE, re.MULTILINE)
