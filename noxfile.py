"""
What a maintainer runs. `nox --list` shows the menu; a bare `nox` runs what a change should pass.

Sessions use the interpreter that nox runs on, apart from ``matrix``.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types", "coverage"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
EVERYTHING = ".[cli,sandbox,test]"
THE_PACKAGE_ALONE = "--ignore=tests/examples"
ANY_INSTALL = [
    THE_PACKAGE_ALONE,
    # What an install can't change, and the other sessions run: processes that are killed, servers, long histories.
    *(f"--ignore=tests/{folder}" for folder in ("crash", "many", "simulation", "reconciling")),
    *(f"--ignore=tests/integrations/{folder}" for folder in ("jobs", "redis_quota")),
]
ALL_BUT_THE_SLOWEST = "not slow and not browser and not other_clients and not job_queues"
OLDEST_WHEELS_END_WITH = (3, 13)
MEASURING = [
    f"tests/files/test_hostile.py::{test}" for test in ("test_time_is_linear_in_the_size", "test_memory_is_bounded")
]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on this interpreter."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def matrix(session: nox.Session) -> None:
    """Run the tests on every interpreter that is supported."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff; `nox -s lint -- --fix` fixes what it can."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--diff"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy strict, what uses the package included, pyright on what users see, both on what they write."""
    session.install("-e", EVERYTHING, *group("bench"), *group("typing"))
    session.run("mypy")
    session.run("mypy", "--package", "benchmarks", "--package", "examples")
    session.run("pyright", "--verifytypes", "neto_async", "--ignoreexternal")
    session.run("python", "tests/typing/check.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests; fails where a branch is left that none of them took."""
    session.install("-e", EVERYTHING)
    session.run("coverage", "erase")
    # Coverage would slow down what measures time and memory, and be measured with it.
    untraced = [f"--deselect={test}" for test in MEASURING]
    chosen = ["-m", ALL_BUT_THE_SLOWEST, THE_PACKAGE_ALONE, *untraced, *session.posargs]
    session.run("coverage", "run", "-m", "pytest", *chosen)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under", "100")
    session.run("python", "-m", "pytest", "-m", "thorough", *MEASURING)


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that pyproject.toml allows."""
    if sys.version_info[:2] > OLDEST_WHEELS_END_WITH:
        session.skip("the oldest dependencies have no wheels for this interpreter")
    session.install("-e", EVERYTHING, *lower_bounds("cli", "sandbox", "aiohttp"))
    session.run("python", "-m", "pip", "list")
    session.run("python", "-m", "pytest", *ANY_INSTALL, *session.posargs)


@nox.session
def httpx2(session: nox.Session) -> None:
    """Run the tests that have no HTTP client of their own with an httpx2.AsyncClient."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", *session.posargs, env={"NETO_ASYNC_TEST_HTTP": "httpx2"})


@nox.session
def examples(session: nox.Session) -> None:
    """Run the slow tests of the example services, which the other sessions leave out."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", "-m", "thorough", "tests/examples", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes."""
    session.install("-e", EVERYTHING)
    session.run("python", "-m", "pytest", "-m", "slow", "--timeout", "1800", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build the sdist and the wheel, check them, and run the tests on the wheel in an empty environment."""
    scratch = Path(session.create_tmp()).resolve()
    built = scratch / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.install(*group("package"))
    session.run("python", "-m", "build", "--outdir", str(built), str(ROOT))
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))

    empty = scratch / "empty"
    session.run("python", "-m", "venv", "--clear", str(empty))
    python = str(empty / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    (wheel,) = built.glob("*.whl")
    session.run(python, "-m", "pip", "install", "--quiet", f"{wheel}[cli,sandbox,test]", external=True)
    session.chdir(without_source(scratch / "project"))
    session.run(python, "-m", "pytest", *ANY_INSTALL, *session.posargs, external=True, env={"PYTHONPATH": ""})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, with warnings as errors and every link inside it looked at; says where to look at it."""
    built = Path(session.create_tmp()).resolve() / "html"
    shutil.rmtree(built, ignore_errors=True)
    session.install("-e", ".[cli,sandbox,fastapi,aiohttp,jobs,otel,postgres,redis]", "pytest", *group("docs"))
    options = ["--nitpicky", "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    session.run("sphinx-build", *options, *session.posargs, "docs", str(built))
    session.log(f"built: {built / 'index.html'}")


@nox.session
def picture(session: nox.Session) -> None:
    """Take the picture of the demo that README shows."""
    session.install("-e", EVERYTHING, "pyte>=0.8")
    session.run("python", "docs/make_demo_picture.py")


@nox.session
def browser(session: nox.Session) -> None:
    """Drive the example service's page in Chromium, which has to be on the path."""
    session.install("-e", EVERYTHING, *group("browser"))
    session.run("python", "-m", "pytest", "-m", "browser", *session.posargs)


@nox.session
def other_clients(session: nox.Session) -> None:
    """Drive the sandbox with a client from npm and one from PyPI, both written for live stores; needs Node.js."""
    if shutil.which("npm") is None:
        session.skip("Node.js and npm are not on the path, and one of the clients needs them")
    scratch = Path(session.create_tmp()).resolve()
    session.install("-e", EVERYTHING, "netoapi==1.0.1", "requests>=2.32")
    session.run("npm", "install", "--silent", "--prefix", str(scratch), "neto-api@2.1.3", external=True)
    modules = {"NODE_PATH": str(scratch / "node_modules")}
    session.run("python", "-m", "pytest", "-m", "other_clients", "tests/other_clients", *session.posargs, env=modules)


@nox.session
def job_queues(session: nox.Session) -> None:
    """Run the page on Celery and taskiq with real workers; needs redis-server and PostgreSQL."""
    session.install("-e", EVERYTHING, *group("queues"))
    session.run("python", "-m", "pytest", "-m", "job_queues", "tests/integrations/jobs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed beside peers and print the tables; `nox -s bench -- --help` tells the options."""
    session.install("-e", EVERYTHING, *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


def group(name: str) -> list[str]:
    """Give the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def lower_bounds(*extras: str) -> list[str]:
    """Give ``name==bound`` for each dependency ``name>=bound`` at run time, those of the extras included."""
    required = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        required += PROJECT["project"]["optional-dependencies"][extra]
    return [re.sub(">=", "==", requirement, count=1) for requirement in required]


def without_source(target: Path) -> Path:
    """Copy all that the tests read, apart from the package, so that only the installed one can be imported."""
    shutil.rmtree(target, ignore_errors=True)
    left_out = shutil.ignore_patterns("neto_async", ".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, target, ignore=left_out)
    return target
