"""compose.yaml and its Dockerfile, which no test can run, beside what run_deployment.py runs and the tests do."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
import yaml
from served import ROOT

from examples import run_deployment
from neto_async.sandbox import NetoSandbox

EXAMPLES = ROOT / "examples"
COMPOSE: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def default(text: str) -> str:
    """Give what a value is where the person has set nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("tables", run_deployment.TABLES),
        ("web", run_deployment.WEB),
        ("worker", run_deployment.WORKER),
        ("redis", run_deployment.REDIS),
        ("store", ("python", "-m", "examples.store")),
    ],
)
def test_both_run_the_same_commands(service, command):
    """A container's command is that of the script, and its module is there."""
    assert command == tuple(SERVICES[service]["command"])
    assert command[0] != "python" or importlib.util.find_spec(command[2]) is not None


def test_both_run_the_same_services():
    """So many web processes and workers, and the servers that they need."""
    assert {"web", "worker", "tables", "store", "postgres", "redis"} == set(SERVICES)
    assert [run_deployment.COPIES] * 2 == [SERVICES[name]["deploy"]["replicas"] for name in ("web", "worker")]
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)


@pytest.mark.parametrize("service", ["web", "worker", "tables"])
def test_both_set_the_same_variables(service):
    """Those of a container are the script's, but for where to listen and the password, and the programs read them."""
    there = SERVICES[service]["environment"]
    given = run_deployment.environment_of(NetoSandbox(), "", "")
    assert given.keys() - {"PORT"} == there.keys() - {"LISTEN", "PGPASSWORD", "PORT"}
    for name in ("NETO_USERNAME", "NETO_API_KEY", "REQUESTS_PER_MINUTE"):
        assert given[name] == default(there[name])
    programs = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.py") if "run_" not in path.name)
    read = set(re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', programs))
    by_libraries = {"NETO_USERNAME", "NETO_API_KEY", "PGPASSWORD"}
    assert there.keys() <= read | by_libraries


def test_addresses_in_containers_are_those_of_services():
    """The store that is a sandbox unless another one is named, the servers, and the ports that they have."""
    web, store = SERVICES["web"]["environment"], SERVICES["store"]
    assert web["SANDBOX"] == default(web["NETO_STORE_URL"]) == f"http://store:{store['environment']['PORT']}"
    assert web["IMPORTS_DATABASE"].split() == ["host=postgres", "user=service", "dbname=service"]
    assert "service" == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert web["PGPASSWORD"] == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "redis://redis:6379/0" == web["QUOTA_REDIS"]
    for service in SERVICES.values():
        for published in service.get("ports", ()):
            assert published.startswith("127.0.0.1:")
            assert published.rpartition(":")[2] == service["environment"]["PORT"]


def test_the_image_has_what_the_programs_import():
    """What it copies is there, with the extras that the programs need."""
    dockerfile = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists()
    (extras,) = re.findall(r"\.\[([\w,]+)\]", dockerfile)
    assert {"fastapi", "jobs", "postgres", "redis", "sandbox"} == set(extras.split(","))
    build = COMPOSE["x-service"]["build"]
    assert (EXAMPLES / build["context"] / build["dockerfile"]).samefile(EXAMPLES / "Dockerfile")
