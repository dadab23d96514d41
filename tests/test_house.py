"""The house rules that no linter holds: who may import whom, what is promised by names, and what no file may say."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import inspect
import pkgutil
import re
import subprocess
import tomllib
import types
import typing
from pathlib import Path

import pytest

import neto_async
from neto_async import errors

ROOT = Path(__file__).parent.parent
PACKAGE = Path(neto_async.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [neto_async.__name__, *(found.name for found in pkgutil.walk_packages([str(PACKAGE)], "neto_async."))]

# Room -> rooms that it may import from at run time, besides itself.
FOUNDATION = {"escaping", "models", "outcomes", "errors", "results", "credentials", "settings", "_version"}
ARROWS = {
    "_version": set(),
    "escaping": set(),
    "outcomes": set(),
    "errors": {"escaping", "outcomes"},
    "results": {"errors", "models", "outcomes"},
    "models": {"errors", "outcomes"},
    "credentials": {"errors"},
    "settings": {"credentials", "errors"},
    "wire": FOUNDATION,
    "sending": FOUNDATION | {"wire"},
    "files": {"errors"},
    "mapping": FOUNDATION | {"wire", "files"},
    "journals": FOUNDATION | {"wire", "sending"},
    "reconciling": FOUNDATION | {"wire", "sending", "journals", "importing"},
    "importing": FOUNDATION | {"wire", "sending", "files", "mapping", "journals"},
    "parameters": FOUNDATION | {"wire", "sending", "journals"},
    "client": FOUNDATION | {"parameters"} | {"wire", "sending", "journals", "importing", "reconciling"},
    "blocking": FOUNDATION | {"client", "parameters", "importing"},
    "sandbox": {"errors"},
    "integrations": FOUNDATION | {"wire", "sending", "journals", "importing", "client", "sandbox"},
    "cli": FOUNDATION
    | {"wire", "sending", "files", "mapping", "journals", "importing", "reconciling", "client", "sandbox"},
    "": FOUNDATION | {"blocking", "client", "parameters", "importing", "journals", "sending", "wire"},
}


@functools.cache
def imports_of(text, *, typed=False):
    """Give what a module imports at run time, by name or by import_module, or, if asked, for the type checker alone."""
    tree = ast.parse(text)
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    return {name for node in ast.walk(tree) if (node in guarded) is typed for name in names_imported(node)}


def names_imported(node):
    """Give the names that one node of a module's tree imports; a relative one keeps its dots, and is in no room."""
    match node:
        case ast.Import(names=names):
            return {alias.name for alias in names}
        case ast.ImportFrom(module=module, names=names, level=level):
            return {f"{'.' * level}{module or ''}.{alias.name}" for alias in names}
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if "import_module" in ast.unparse(func):
            return {name}
    return set()


def room_of(source):
    """Give the room that a file is in: the folder below the package, or the module."""
    inside = source.relative_to(PACKAGE).with_suffix("").parts
    return "" if inside == ("__init__",) else inside[0]


def rooms_in(names):
    """Give the rooms that imported names are in; the package itself, and what is relative, are in none allowed."""
    own = {name for name in names if name.split(".")[0] in {"neto_async", ""}}
    return {name.split(".")[1] if name.startswith("neto_async.") else name for name in own}


def rooms_imported(source, *, typed=False):
    return rooms_in(imports_of(source.read_text(encoding="utf-8"), typed=typed))


def packages_imported(source):
    text = source.read_text(encoding="utf-8")
    return {name.split(".")[0] for typed in (False, True) for name in imports_of(text, typed=typed)}


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("typed", [False, True], ids=["at run time", "for types"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_imports_run_downwards(source, typed):
    """A module imports only from its own room and from the rooms below it, for the type checker alone too."""
    room = room_of(source)
    assert set() == rooms_imported(source, typed=typed) - {room} - ARROWS[room]


def test_no_files_import_each_other_in_a_circle():
    """Inside a room, too, imports run one way, those for the type checker included."""
    names = {".".join(("neto_async", *source.relative_to(PACKAGE).with_suffix("").parts)): source for source in SOURCES}
    graph = {}
    for name, source in names.items():
        text = source.read_text(encoding="utf-8")
        found = imports_of(text) | imports_of(text, typed=True)
        graph[name] = {one for known in found for one in (known, known.rpartition(".")[0])} & set(names)
    assert set(names) == set(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import neto_async.client", {"client"}),
        ("import neto_async.wire.verdicts as v", {"wire"}),
        ("from neto_async import client", {"client"}),
        ("from neto_async.sending.engine import Engine", {"sending"}),
        ("def f():\n    from neto_async.client import AsyncNetoClient", {"client"}),
        ("importlib.import_module('neto_async.cli.commands')", {"cli"}),
        ("import neto_async", {"neto_async"}),
        ("from . import engine", {"..engine"}),
        ("from ..client import AsyncNetoClient", {"..client.AsyncNetoClient"}),
        ("if TYPE_CHECKING:\n    import neto_async.client\nelse:\n    import neto_async.wire", {"wire"}),
        ("import json, httpx\nfrom collections import abc", set()),
    ],
)
def test_no_way_of_importing_goes_unseen(text, rooms):
    """The arrows are held against every way to import; one that names no room is in none that is allowed."""
    assert rooms == rooms_in(imports_of(text))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_no_file_is_over_600_lines(source):
    """A file that grows past 600 lines has more than one job."""
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 600


def test_the_arrows_name_every_room():
    """No folder or module of the package is without its arrows."""
    assert set() == {room_of(source) for source in SOURCES} - set(ARROWS)


def test_one_file_knows_the_http_library():
    """The HTTP library is imported by the transport, and by nothing else."""
    knowing = {
        str(source.relative_to(PACKAGE)) for source in SOURCES if packages_imported(source) & {"httpx", "httpx2"}
    }
    assert {str(Path("sending", "transport.py"))} == knowing


def test_extras_stay_out_of_the_library():
    """What an extra brings is imported by its own room alone."""
    rooms = {
        "aiohttp": {"sandbox", "integrations"},
        "fastapi": {"integrations"},
        "opentelemetry": {"integrations"},
        "procrastinate": {"integrations"},
        "redis": {"integrations"},
        "psycopg": {"journals"},
        "click": {"cli"},
        "rich": {"cli"},
    }
    for source in SOURCES:
        for extra in packages_imported(source) & set(rooms):
            assert room_of(source) in rooms[extra], f"{source.name} imports {extra}"


def test_runtime_dependencies_are_four():
    """A user of the library gets httpx, attrs, cattrs and xmltodict, and nothing else."""
    assert ["attrs", "cattrs", "httpx", "xmltodict"] == sorted(
        re.match(r"[\w-]+", requirement)[0] for requirement in PROJECT["dependencies"]
    )


def test_every_dependency_has_its_reason():
    """Each package named in pyproject.toml for users is named in docs/dependencies.md, and each extra as well."""
    said = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    extras = PROJECT["optional-dependencies"]
    required = [*PROJECT["dependencies"], *extras["cli"], *extras["sandbox"]]
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in required} | set(extras)
    assert set() == {name for name in named if not re.search(rf"\b{re.escape(name)}\b", said)}


@pytest.mark.parametrize("name", NAMES)
def test_all_names_what_is_there(name):
    """Every name in `__all__` is there once and can be imported."""
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", []))
    assert len(set(names)) == len(names)
    assert [] == [public for public in names if not hasattr(module, public)]


def test_what_users_import_is_sorted_and_complete():
    """`neto_async.__all__` is sorted, and names all that is there, each error and each of the five outcomes too."""
    assert sorted(neto_async.__all__) == neto_async.__all__
    outcomes = {"Added", "Rejected", "Invalid", "NotSent", "Unknown", "Outcome"}
    public = {name for name, thing in vars(neto_async).items() if name[0] != "_" and not inspect.ismodule(thing)}
    assert (public | set(neto_async._MODULE_OF)) - {"annotations", "TYPE_CHECKING"} == set(neto_async.__all__)
    assert set() == (set(errors.__all__) | outcomes) - set(neto_async.__all__)


def named_in(thing, seen):
    """Give the types of the package in a public signature: of a function, or of all that users see of a class."""
    if inspect.isroutine(thing):
        hints = [typing.get_type_hints(thing, localns=SHOWN)]
    elif inspect.isclass(thing):
        hints = [typing.get_type_hints(kind, localns=SHOWN) for kind in thing.__mro__ if kind.__module__ in NAMES]
        hints = [{name: hint for name, hint in found.items() if name[0] != "_"} for found in hints]
        members = [getattr(body, "fget", getattr(body, "__func__", body)) for body in vars(thing).values()]
        public = [
            one for one in members if inspect.isroutine(one) and (one.__name__[0] != "_" or one is thing.__init__)
        ]
        hints += [typing.get_type_hints(one, localns=SHOWN) for one in public]
    else:
        hints = [{"": thing}]
    waiting = [hint for found in hints for hint in found.values()]
    while waiting:
        hint = waiting.pop()
        waiting += hint if isinstance(hint, list) else typing.get_args(hint)
        if inspect.isclass(hint) and hint.__module__ in NAMES:
            seen.add(hint)
    return seen


SHOWN = {name: getattr(neto_async, name) for name in neto_async.__all__} | {"TracebackType": types.TracebackType}
"""What annotations name that are for the type checker alone."""


def test_each_type_of_a_public_signature_can_be_imported():
    """What a user can be given, or asked for, by a name of `neto_async` is a name of `neto_async` too."""
    missing = {
        (name, kind.__name__)
        for name, thing in SHOWN.items()
        for kind in named_in(thing, set())
        if name != "ImportRun" or kind.__name__ != "Engine"  # a run comes from the client
        if kind is not SHOWN.get(kind.__name__)
    }
    assert set() == missing


def test_a_public_module_is_documented():
    """A module without an underscore is public where docs/reference names it, as docs/architecture.md says."""
    reference = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    named = {name for name in NAMES if re.search(rf"{re.escape(name)}\b", reference)}
    used = {
        name
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        if page.name != "architecture.md"
        for name in re.findall(r"^\s*from (neto_async[\w.]*) import", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert set() == {name for name in used if not any(name == one or name.startswith(f"{one}.") for one in named)}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_thing_has_a_docstring(name):
    """Every module and public class, method and function says what it is for; what overrides, by its base too."""
    module = importlib.import_module(name)
    silent = [] if inspect.getdoc(module) else [name]
    for public, thing in vars(module).items():
        if public.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if inspect.isroutine(thing) or inspect.isclass(thing):
            silent += [] if thing.__doc__ else [public]
        if inspect.isclass(thing):
            silent += [
                f"{public}.{method}"
                for method, body in vars(thing).items()
                if not method.startswith("_")
                and (inspect.isfunction(body) or isinstance(body, property | classmethod | staticmethod))
                and not inspect.getdoc(body)
            ]
    assert [] == silent


@pytest.mark.parametrize("source", sorted(Path(__file__).parent.rglob("test_*.py")), ids=lambda source: source.stem)
def test_every_test_states_its_law(source):
    """The first line under each test says what must hold."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert [] == silent


def command_under(heading):
    """Give the one line of the first ``sh`` block below a heading of README.md, and above the next heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    (command,) = re.search(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1].strip().splitlines()
    return command


@pytest.mark.parametrize(
    ("heading", "last"), [("Quick start", "neto-async demo"), ("Run the tests", "python -m pytest")]
)
def test_the_readmes_commands_need_nothing_but_python(heading, last):
    """Each of the two is one line: it makes an environment, installs extras that exist, and runs the thing."""
    make, install, run = command_under(heading).split(" && ")
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', install)
    assert ("python3 -m venv .venv", f".venv/bin/{last}") == (make, run)
    assert install.startswith(".venv/bin/pip install ")
    assert set() == set(extras.split(",")) - set(PROJECT["optional-dependencies"])
    assert "neto-async" in PROJECT["scripts"]


def test_pytest_finds_the_plugin_automatically():
    """Without its entry point the plugin's own tests would only be skipped."""
    assert {"neto_async": "neto_async.integrations.pytest"} == PROJECT["entry-points"]["pytest11"]


def test_ci_runs_what_the_readme_says():
    """The command that README.md gives for the tests is the one that .ci/run runs."""
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("not a checkout")
    run = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    assert command_under("Run the tests") in run


def test_package_is_typed():
    """The marker that asks type checkers to read the package is inside it."""
    assert (PACKAGE / "py.typed").is_file()


def test_no_file_knows_the_machine_it_was_written_on():
    """No tracked file holds a home folder, a temporary folder, or the address of a package index."""
    # Put together here, since this file is tracked as well.
    telling = re.compile(
        "|".join(["/" + "(?:root|work)/", "/" + r"home/\w+/", "/" + r"tmp/\w+", "extra-" + "index-url"])
    )
    found = {}
    for path in tracked_files():
        if match := telling.search(path.read_bytes().decode("utf-8", "replace")):
            found[path.name] = match[0]
    assert {} == found
