"""What services answer where a log was not added: the table itself, and both web adapters over the sandbox."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI, Request

from neto_async import AuthenticationError, InvalidRecordError, NetoError, RateLimitedError, RejectedError, errors
from neto_async.integrations._problems import problem_for
from neto_async.integrations.aiohttp import NETO, error_middleware, neto_context
from neto_async.integrations.fastapi import Neto, add_error_handlers, neto_lifespan
from neto_async.outcomes import Rejected
from neto_async.sandbox import faults

KINDS = [getattr(errors, name) for name in errors.__all__]


def make(kind: type[NetoError]) -> NetoError:
    return kind(("CANARY: too long",)) if kind is InvalidRecordError else kind("CANARY")


@pytest.fixture
def answers(own, serve_fastapi, serve_aiohttp):
    """Add the log in a request's body through a service of each kind, and give both answers."""

    def with_fastapi(**settings):
        app = FastAPI(lifespan=neto_lifespan(own))
        add_error_handlers(app, **settings)

        @app.post("/")
        async def add(request: Request, neto: Neto) -> bool:
            return (await neto.add_customer_log(await request.json())).log_id > 0

        return app

    def with_aiohttp(**settings):
        async def add(request):
            return web.json_response((await request.app[NETO].add_customer_log(await request.json())).log_id > 0)

        app = web.Application(middlewares=[error_middleware(**settings)])
        app.cleanup_ctx.append(neto_context(own))
        app.router.add_post("/", add)
        return app

    async def ask(log, **settings):
        async with (
            serve_fastapi(with_fastapi(**settings)) as one,
            serve_aiohttp(with_aiohttp(**settings)) as two,
            httpx.AsyncClient() as http,
        ):
            return [reported(await http.post(url, json=log)) for url in (one, two)]

    def reported(answer):
        content_type = answer.headers["Content-Type"].partition(";")[0]
        return answer.status_code, answer.headers.get("Retry-After"), content_type, answer.json()

    return ask


@pytest.mark.parametrize(
    ("fault", "status", "retry_after", "fate"),
    [
        (faults.Refuse("CANARY"), 422, None, "rejected"),
        (faults.RefuseKey(), 502, None, "not_sent"),
        (faults.TooManyCalls(900.5), 503, "901", "not_sent"),
        (faults.Status(503), 504, None, "unknown"),
    ],
)
async def test_both_answer_alike(store, answers, caplog, *, fault, status, retry_after, fate):
    """Each fate has one answer, the same in both frameworks: a problem that says it, and says nothing secret."""
    store.faults.next(fault, fault)
    one, two = await answers({"Notes": "CANARY"})
    assert one == two
    assert (status, retry_after, "application/problem+json") == one[:3]
    assert (fate, fate != "unknown") == (one[3]["fate"], one[3]["safe_to_resend"])
    assert not {secret for secret in ("CANARY", store.api_key) if secret in f"{one} {caplog.text}"}


async def test_an_invalid_log_is_answered_with_its_faults(store, answers):
    """A log that breaks a rule is not sent, and the answer names field and limit."""
    one, two = await answers({"Username": "CANARY" * 5})
    assert one == two
    assert (422, "invalid", True) == (one[0], one[3]["fate"], one[3]["safe_to_resend"])
    (fault,) = one[3]["errors"]
    assert fault.startswith("username: ")
    assert ("CANARY" in fault, 0) == (False, store.call_count)


async def test_both_add(store, answers):
    """A handler of either framework adds a log through the client that its application opened."""
    assert [True, True] == [body for *_, body in await answers({"Notes": "a"})]
    assert 2 == len(store.logs)


@pytest.mark.parametrize("asked", [False, True])
async def test_netos_words_are_reported_only_where_asked_for(store, answers, asked):
    """What Neto said, which may echo a customer's text, is in the answer only with `show_messages`."""
    store.faults.next(faults.Refuse("CANARY"), faults.Refuse("CANARY"))
    for *_, body in await answers({"Notes": "a"}, show_messages=asked):
        assert (["CANARY"] if asked else None) == body.get("messages")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_answer(kind):
    """Each error has a type and a title of its own, a status of 409, 422 or 5xx, and not a word of the error's text."""
    body = problem_for(make(kind)).body
    others = [problem_for(make(other)).body for other in KINDS if other is not kind]
    assert body["type"] not in {other["type"] for other in others}
    assert body["title"] not in {other["title"] for other in others}
    assert body["status"] in {409, 422, 500, 502, 503, 504}
    assert "CANARY" not in str({name: text for name, text in body.items() if name != "errors"})


def test_the_page_lists_every_answer():
    """The page's table has a row for each answer: status, type, fate, and whether the log may be sent again."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "fastapi.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\S+)` \| (?:`(\w+)`)? ?\| (?:\**(true|false)\S*[^|]*)? ?\|", page, re.MULTILINE)
    bodies = [problem_for(make(kind)).body for kind in KINDS]
    assert sorted(rows) == sorted(
        (str(body["status"]), body["type"], body.get("fate", ""), str(body.get("safe_to_resend", "")).lower())
        for body in bodies
    )


def test_an_error_of_your_own_is_answered_as_the_nearest_above_it():
    """A subclass of one of our errors has that one's answer."""

    class MineError(AuthenticationError):
        """A refused key, reported apart."""

    assert problem_for(AuthenticationError("x")) == problem_for(MineError("x"))


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_log_is_concerned_nothing_is_said_of_sending_it_again(kind):
    """`fate` and `safe_to_resend` are in an answer together or not at all: a broken import's rows are not "safe"."""
    body = problem_for(make(kind)).body
    of_a_log = kind not in (
        errors.BulkSourceError,
        errors.ConfigurationError,
        errors.JournalError,
        errors.JournalInUseError,
        errors.ReadError,
        errors.SourceError,
        NetoError,
    )
    assert (of_a_log, of_a_log) == ("fate" in body, "safe_to_resend" in body)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_the_requests_fault_is_logged(kind, caplog):
    """An answer of 5xx leaves a line in the log, one of 4xx does not."""
    problem = problem_for(make(kind))
    assert (problem.status >= 500) == bool(caplog.records)


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "0"), (-1.0, "0"), (0.1, "1"), (60.0, "60"), (None, None)])
def test_retry_after_is_whole_and_never_too_early(seconds, header):
    """The header is in whole seconds, rounded up, and absent where the store gave none."""
    assert header == problem_for(RateLimitedError("x", retry_after=seconds)).headers.get("Retry-After")


def test_a_refusal_without_its_outcome_has_no_messages():
    """An error that a program raised itself, without an outcome, is answered all the same."""
    assert "messages" not in problem_for(RejectedError("x"), show_messages=True).body
    fate = Rejected(index=0, record=None, messages=("no",))
    assert ["no"] == problem_for(RejectedError("x", outcome=fate), show_messages=True).body["messages"]


@pytest.mark.parametrize("name", ["fastapi", "aiohttp"])
def test_without_its_framework_an_adapter_says_what_to_install(monkeypatch, name):
    """Where the framework is missing, importing the adapter fails with the command that brings it."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"neto_async.integrations.{name}")
    with pytest.raises(ImportError, match=re.escape(f'pip install "neto_async[{name}]"')):
        importlib.import_module(f"neto_async.integrations.{name}")


async def test_the_http_client_is_made_at_the_start(own):
    """White box: opening a client makes the HTTP client, which takes tens of milliseconds, before the first request."""
    async with own() as neto:
        assert neto._transport._client is not None
