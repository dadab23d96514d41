"""Spans and metrics of a client against a store on loopback, as exporters that keep them in memory see them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from attrs import define, field
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from neto_async import AsyncNetoClient, CustomerLog, NetoError
from neto_async.integrations import opentelemetry
from neto_async.integrations.opentelemetry import Instrumentation, instrument
from neto_async.sandbox import NetoSandbox, faults


@define
class Telemetry:
    """Providers of the test's own, and what they learned."""

    spans: InMemorySpanExporter = field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    tracers: TracerProvider = field(factory=TracerProvider)
    meters: MeterProvider = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])

    def watch(self, neto: AsyncNetoClient) -> Instrumentation:
        return instrument(neto, tracer_provider=self.tracers, meter_provider=self.meters)

    async def within(self, name: str, work: Any) -> Any:
        """Await something inside a span of the caller's own."""
        with self.tracers.get_tracer("the caller's own").start_as_current_span(name):
            return await work

    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == "POST AddCustomerLog"]

    def linked(self) -> list[dict[str, int]]:
        """Give, for each call, the names of the spans it is linked to, with the records that each link counts."""
        names = {span.context.span_id: span.name for span in self.spans.get_finished_spans()}
        return [
            {names[link.context.span_id]: link.attributes["neto.records"] for link in call.links}
            for call in self.calls()
        ]

    def points(self) -> dict[str, dict[str, Any]]:
        """Give the data points of each metric, by those attributes that are not the server's."""
        collected = self.reader.get_metrics_data()
        scopes = [scope for resource in collected.resource_metrics for scope in resource.scope_metrics]
        metrics = [metric for scope in scopes for metric in scope.metrics]
        assert len({metric.name for metric in metrics}) == len(metrics)
        return {metric.name: collapsed(metric.data.data_points) for metric in metrics}

    def values(self, name: str) -> dict[str, float]:
        """Give the values of one metric that are not 0."""
        return {key: point.value for key, point in self.points().get(name, {}).items() if point.value}


def said(point: Any) -> str:
    return " ".join(str(value) for name, value in point.attributes.items() if not name.startswith("server."))


def collapsed(points: Any) -> dict[str, Any]:
    named = {said(point): point for point in points}
    assert len(named) == len(points)  # one store a test
    return named


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Hold a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def log(text: str = "text") -> CustomerLog:
    return CustomerLog(notes=text)


# --- Spans ---------------------------------------------------------------------------------------------------------


async def test_a_call_is_described_as_the_conventions_say(store, connect, telemetry):
    """A call is a CLIENT span with the attributes that the conventions require, and without a status where it added."""
    neto = await connect(store)
    telemetry.watch(neto)
    await neto.add_customer_log(log())

    (span,) = telemetry.calls()
    attributes = dict(span.attributes)
    port = int(store.url.rpartition(":")[2])
    scope = span.instrumentation_scope
    assert (SpanKind.CLIENT, StatusCode.UNSET) == (span.kind, span.status.status_code)
    assert ("neto_async", version("neto_async")) == (scope.name, scope.version)
    assert "https://opentelemetry.io/schemas/1.44.0" == scope.schema_url
    assert attributes.pop("http.request.body.size") > len("text")
    assert {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "messaging.batch.message_count": 1,
        "neto.call": 1,
        "neto.verdict": "added",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"http://127.0.0.1:{port}/do/WS/NetoAPI",
    } == attributes


async def test_a_shared_call_is_a_root_with_a_link_to_each_caller(store, connect, telemetry):
    """Callers that share a call each keep a trace of their own; the call's is another, linked to all of them."""
    neto = await connect(store)
    telemetry.watch(neto)

    await asyncio.gather(*(telemetry.within(name, neto.add_customer_log(log(name))) for name in "abc"))

    (call,) = telemetry.calls()
    own = [span for span in telemetry.spans.get_finished_spans() if span is not call]
    assert [{"a": 1, "b": 1, "c": 1}] == telemetry.linked()
    assert (None, 4) == (call.parent, len({span.context.trace_id for span in (call, *own)}))


async def test_a_caller_with_many_records_in_a_call_has_one_link(store, connect, telemetry):
    """There is one link for a span, and says how many records of the call came from there."""
    neto = await connect(store)
    telemetry.watch(neto)

    async def adds(count: int) -> None:
        await asyncio.gather(*(neto.add_customer_log(log(str(number))) for number in range(count)))

    await asyncio.gather(telemetry.within("three", adds(3)), telemetry.within("two", adds(2)), adds(1))

    assert [{"three": 3, "two": 2}] == telemetry.linked()
    assert 6 == telemetry.calls()[0].attributes["messaging.batch.message_count"]


async def test_a_runs_calls_are_linked_to_where_it_was_entered(store, connect, telemetry):
    """Every call of an import is linked to the span that was current when the run was entered, and to no other."""
    neto = await connect(store, batch_size=2)
    telemetry.watch(neto)

    async def enter() -> Any:
        return await neto.import_customer_logs([log("1"), log("2"), log("3")]).__aenter__()

    imported = await telemetry.within("entered", enter())
    await telemetry.within("read", asyncio.ensure_future(drained(imported)))
    await imported.__aexit__(None, None, None)

    assert [{"entered": 1}, {"entered": 2}] == telemetry.linked()


async def drained(imported: Any) -> list[Any]:
    return [outcome async for outcome in imported]


async def test_links_are_capped_and_the_rest_is_counted(store, connect, telemetry):
    """A call of very many callers has as many links as a span keeps, and says how many were left out."""
    neto = await connect(store, batch_size=200)
    telemetry.watch(neto)

    await asyncio.gather(*(telemetry.within(str(n), neto.add_customer_log(log(str(n)))) for n in range(130)))

    (call,) = telemetry.calls()
    assert (128, 2, 0) == (len(call.links), call.attributes["neto.links_left_out"], call.dropped_links)


@pytest.mark.parametrize("watched", [False, True])
async def test_records_submitted_before_are_linked_to_nothing(store, connect, telemetry, watched):
    """A record that waited already when its client was instrumented goes with a call that has no link for it."""
    neto = await connect(store)
    detach = neto.observe(Other()) if watched else None
    adding = [asyncio.ensure_future(telemetry.within(name, neto.add_customer_log(log(name)))) for name in "ab"]
    await asyncio.sleep(0)
    if detach is not None:
        detach()
    telemetry.watch(neto)
    await asyncio.gather(*adding)

    assert [{}] == telemetry.linked()


class Other:
    """Another observer, which takes down something else."""

    def handed_in(self) -> str:
        return "something else"

    def began(self, *_: object) -> None:
        """Take down nothing."""

    ended = began


@pytest.mark.parametrize(
    ("fault", "facts"),
    [
        (None, ("added", 200, None)),
        (faults.Refuse(), ("refused", 200, "refused")),
        (faults.RefuseKey(), ("key_refused", 200, "key_refused")),
        (faults.Status(401), ("key_refused", 401, "401")),
        (faults.Status(413), ("too_large", 413, "413")),
        (faults.Status(403), ("blocked", 403, "403")),
        (faults.Redirect(), ("wrong_address", 302, "302")),
        (faults.TooManyCalls(retry_after=900), ("rate_limited", 429, "429")),
        (faults.Status(503), ("unknown", 503, "503")),
        (faults.HtmlPage(), ("unknown", 200, "outcome_unknown")),
        (faults.MoreIds(), ("unknown", 200, "outcome_unknown")),
        (faults.CutShort(saves=True), ("unknown", 200, "RemoteProtocolError")),
        (faults.Reset(saves=True), ("unknown", None, "ReadError")),
    ],
)
async def test_each_end_of_a_call_is_reported_by_facts(store, connect, telemetry, fault, facts):
    """A span says what the answer meant, its HTTP status and what the call failed by, and is an error where it did."""
    if fault is not None:
        store.faults.always(fault)
    neto = await connect(store)
    telemetry.watch(neto)
    with contextlib.suppress(NetoError):
        await telemetry.within("caller", neto.add_customer_log(log()))

    assert [{"caller": 1}] == telemetry.linked()
    assert_ended(telemetry.calls()[0], facts)


async def test_a_call_that_never_left_is_reported_by_facts(connect, telemetry, closed_port):
    """Each attempt to reach a store that can't be reached is a span of its own, which says that nothing left."""
    neto, idle = [await connect.enter(AsyncNetoClient(closed_port, api_key="key", give_up_after=0.3)) for _ in range(2)]
    telemetry.watch(neto)
    telemetry.watch(idle)
    with contextlib.suppress(NetoError):
        await telemetry.within("caller", neto.add_customer_log(log()))

    now = neto.statistics()
    assert [{"caller": 1}] * now.calls == telemetry.linked() != []
    for span in telemetry.calls():
        assert_ended(span, ("never_left", None, "ConnectError"))
    assert {"": now.failing} == telemetry.values("neto.client.failing")


def assert_ended(span: ReadableSpan, facts: Any) -> None:
    named = [span.attributes.get(name) for name in ("neto.verdict", "http.response.status_code", "error.type")]
    assert [*facts] == named
    assert (StatusCode.UNSET if facts[2] is None else StatusCode.ERROR) is span.status.status_code
    assert (None, ()) == (span.status.description, span.events)


async def test_a_cancelled_callers_call_ends_its_span(store, connect, telemetry):
    """A caller that is cancelled after its record has left takes nothing from the call's span, nor from its link."""
    arrived, release = asyncio.Event(), asyncio.Event()
    store.faults.next(Held(arrived, release))
    neto = await connect(store)
    telemetry.watch(neto)
    adding = asyncio.ensure_future(telemetry.within("cancelled", neto.add_customer_log(log())))
    await arrived.wait()
    adding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await adding
    assert [] == telemetry.calls()
    release.set()
    await neto.flush()

    assert [{"cancelled": 1}] == telemetry.linked()
    assert "added" == telemetry.calls()[0].attributes["neto.verdict"]
    assert ({"added": 1}, {"added": 1}) == (
        telemetry.values("neto.client.outcomes"),
        telemetry.values("neto.client.unawaited"),
    )


class Held(faults.Fault):
    """Does the store's work, and answers when it is asked to."""

    def __init__(self, arrived: asyncio.Event, release: asyncio.Event) -> None:
        object.__setattr__(self, "arrived", arrived)
        object.__setattr__(self, "release", release)

    async def play(self, exchange):
        answer = exchange.process()
        self.arrived.set()
        await self.release.wait()
        return exchange.reply(answer)


async def test_what_happens_in_a_call_happens_in_its_span(store, connect, telemetry):
    """The HTTP library's hooks see the call's span as current, and no baggage of a caller's; callers keep theirs."""
    seen = []

    def look() -> None:
        seen.append((trace.get_current_span().get_span_context().span_id, baggage.get_all()))

    async def hook(request: Any) -> None:
        look()

    async def make_and_add(http_client: httpx.AsyncClient) -> None:
        otel_context.attach(baggage.set_baggage("customer", "CANARY"))
        neto = await connect(store, http_client=http_client)
        telemetry.watch(neto)
        await neto.add_customer_log(log())
        look()

    async with httpx.AsyncClient(event_hooks={"request": [hook]}) as http_client:
        await asyncio.ensure_future(telemetry.within("caller", make_and_add(http_client)))

    (caller,) = [span for span in telemetry.spans.get_finished_spans() if span.name == "caller"]
    (call,) = telemetry.calls()
    assert None is call.parent
    assert [(call.context.span_id, {}), (caller.context.span_id, {"customer": "CANARY"})] == seen


async def test_what_is_logged_of_a_call_is_logged_in_its_span(store, connect, telemetry, caplog):
    """A log line about a call can be found from its span: the span is current where the line is written."""
    seen = []
    caplog.set_level(logging.DEBUG, "neto_async")
    caplog.handler.addFilter(lambda _: not seen.append(trace.get_current_span().get_span_context().span_id))
    neto = await connect(store)
    telemetry.watch(neto)
    try:
        await telemetry.within("caller", neto.add_customer_log(log()))
    finally:
        caplog.handler.filters.clear()

    lines = [line for line, record in zip(seen, caplog.records, strict=True) if record.name == "neto_async"]
    assert [telemetry.calls()[0].context.span_id] == lines


class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise ValueError("CANARY")


async def test_a_processor_that_raises_harms_no_record(store, connect, telemetry, caplog):
    """What the SDK raises inside a call ends in the log by its class, and the record is added all the same."""
    telemetry.tracers.add_span_processor(Broken())
    neto = await connect(store)
    telemetry.watch(neto)

    assert 1001 == (await neto.add_customer_log(log())).log_id
    assert ["the observer of calls raised ValueError"] == [
        record.getMessage() for record in caplog.records if record.name == "neto_async"
    ]


# --- Metrics -------------------------------------------------------------------------------------------------------


async def test_the_counts_of_statistics_are_metrics(store, connect, telemetry):
    """Every count that `statistics` gives is in a metric, with the store's address."""
    store.refuse_when(lambda fields: fields["Notes"] == "poison")
    neto = await connect(store)
    telemetry.watch(neto)
    texts = ["1", "2", "poison", {"Notes": "x", "Status": "none such"}]
    await neto.add_customer_logs([text if isinstance(text, dict) else log(text) for text in texts])
    store.faults.next(faults.Status(503))
    await neto.add_customer_logs([log("doubt")])

    now = neto.statistics()
    assert {"added": 2, "rejected": 1, "invalid": 1, "unknown": 1} == telemetry.values("neto.client.outcomes")
    assert {"": now.calls} == telemetry.values("neto.client.calls")
    assert {} == telemetry.values("neto.client.waiting")
    (point,) = telemetry.points()["neto.client.calls"].values()
    assert {"server.address": "127.0.0.1", "server.port": int(store.url.rpartition(":")[2])} == point.attributes


async def test_what_waits_and_what_for_are_metrics(store, connect, telemetry):
    """A call in flight, records that wait in each lane, and what for, are seen as they are now, not as a sum."""
    arrived, release = asyncio.Event(), asyncio.Event()
    store.faults.next(Held(arrived, release))
    neto = await connect(store, max_concurrency=1, requests_per_minute=400)
    telemetry.watch(neto)
    first = asyncio.ensure_future(neto.add_customer_log(log("first")))
    await arrived.wait()
    rest = [asyncio.ensure_future(neto.add_customer_log(log(str(number)))) for number in range(3)]
    bulk = asyncio.ensure_future(neto.add_customer_logs([log("4"), log("5")]))
    for _ in range(5):
        await asyncio.sleep(0)

    assert {"": 1} == telemetry.values("http.client.active_requests")
    assert {"single": 3, "import": 2} == telemetry.values("neto.client.waiting")
    assert {"slot": 1} == telemetry.values("neto.client.waiting_on")
    assert {"process": 1} == telemetry.values("neto.client.quota.used")
    release.set()
    await asyncio.gather(first, *rest, bulk)
    assert {} == telemetry.values("http.client.active_requests")
    assert ({}, {}) == (telemetry.values("neto.client.waiting"), telemetry.values("neto.client.waiting_on"))


async def test_trouble_is_a_metric(store, connect, telemetry):
    """A pause and a refused key show, though another client of the store knows neither."""
    store.faults.next(faults.TooManyCalls(retry_after=900), faults.RefuseKey())
    for _ in range(3):
        neto = await connect(store)
        telemetry.watch(neto)
        with contextlib.suppress(NetoError):
            await neto.add_customer_log(log())

    assert 890 < telemetry.values("neto.client.paused_for")[""] <= 900
    assert {"": 1} == telemetry.values("neto.client.halted")


async def test_the_duration_of_calls_is_the_conventions_histogram(store, connect, telemetry):
    """Durations are in seconds, in the advised buckets, by what became of the calls; an example names its span."""
    store.faults.next(faults.Status(503))
    neto = await connect(store)
    telemetry.watch(neto)
    with contextlib.suppress(NetoError):
        await neto.add_customer_log(log("1"))
    report = await neto.add_customer_logs([log("2")])

    points = telemetry.points()["http.client.request.duration"]
    added = points["POST added 200"]
    assert {"POST added 200": 1, "POST unknown 503 503": 1} == {key: point.count for key, point in points.items()}
    assert (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10) == tuple(added.explicit_bounds)
    assert report.added[0].attempts[0].seconds == added.sum
    assert [telemetry.calls()[1].context.span_id] == [example.span_id for example in added.exemplars]


async def test_clients_of_one_store_are_added_up(store, connect, telemetry, caplog):
    """Two clients for one store make one series, and the instruments are made once."""
    for number in range(2):
        neto = await connect(store)
        telemetry.watch(neto)
        await neto.add_customer_logs([log(str(number))] * (number + 1))

    assert {"added": 3} == telemetry.values("neto.client.outcomes")
    assert [] == [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_the_quota_of_a_process_is_counted_once(store, connect, telemetry):
    """Clients that share their process's quota all see the calls of all: that number is shown, and no sum of it."""
    for _ in range(2):
        neto = await connect(store, requests_per_minute=400)
        telemetry.watch(neto)
        await neto.add_customer_log(log())

    assert {"process": 2} == telemetry.values("neto.client.quota.used")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://www.yournetosite.com.au", ("www.yournetosite.com.au", 443)),
        ("https://www.yournetosite.com.au:8443/do/WS/NetoAPI", ("www.yournetosite.com.au", 8443)),
        ("http://localhost", ("localhost", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
    ],
)
def test_the_server_is_reported_as_the_conventions_want_it(telemetry, url, server):
    """Host and port are separate attributes, the port also where the address leaves it out."""
    telemetry.watch(AsyncNetoClient(url, api_key="key"))

    (point,) = telemetry.points()["neto.client.calls"].values()
    assert {"server.address": server[0], "server.port": server[1]} == point.attributes


# --- Beginning and ending --------------------------------------------------------------------------------------------


async def test_detaching_ends_it(store, connect, telemetry):
    """After detaching, calls have no span; counters stay where they were, and what is of the moment is gone."""
    neto = await connect(store)
    with telemetry.watch(neto) as watching:
        await neto.add_customer_log(log("1"))
    await neto.add_customer_log(log("2"))
    watching.detach()

    assert 1 == len(telemetry.calls())
    assert ({"added": 1}, {"": 1}) == (
        telemetry.values("neto.client.outcomes"),
        telemetry.values("neto.client.calls"),
    )
    assert "http.client.active_requests" not in telemetry.points()


async def test_a_call_under_way_when_detached_ends_its_span(store, connect, telemetry):
    """Detaching loses no span: the call that was under way ends its own."""
    arrived, release = asyncio.Event(), asyncio.Event()
    store.faults.next(Held(arrived, release))
    neto = await connect(store)
    watching = telemetry.watch(neto)
    adding = asyncio.ensure_future(neto.add_customer_log(log()))
    await arrived.wait()
    watching.detach()
    release.set()
    await adding

    assert ["added"] == [span.attributes["neto.verdict"] for span in telemetry.calls()]


async def test_a_client_can_be_instrumented_again(store, connect, telemetry, caplog):
    """A client that was let go can be taken up again; its counters go on, and never fall."""
    neto = await connect(store)
    seen = []
    for number in range(3):
        with telemetry.watch(neto):
            await neto.add_customer_log(log(str(number)))
            seen.append(telemetry.values("neto.client.outcomes")["added"])

    assert (3, sorted(seen)) == (len(telemetry.calls()), seen)
    assert [] == [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_a_second_instrumentation_is_refused(store, connect, telemetry):
    """A client is instrumented once: a second time raises, and doubles nothing."""
    neto = await connect(store)
    telemetry.watch(neto)
    with pytest.raises(RuntimeError, match="observed already"):
        telemetry.watch(neto)
    await neto.add_customer_log(log())

    assert (1, {"added": 1}) == (len(telemetry.calls()), telemetry.values("neto.client.outcomes"))


async def test_without_an_sdk_nothing_happens(store, connect):
    """An application that has set no providers pays for nothing and sees nothing."""
    neto, other = await connect(store), await connect(store)
    with instrument(neto), instrument(other):
        assert 1001 == (await neto.add_customer_log(log())).log_id


def test_a_missing_package_is_named(monkeypatch):
    """Without the extra, importing the adapter says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    spec = importlib.util.spec_from_file_location("without_the_extra", opentelemetry.__file__)
    with pytest.raises(ImportError, match=r'pip install "neto_async\[otel\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# --- Secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, faults.Refuse("CANARY"), faults.Reset(saves=True), faults.RefuseKey()])
async def test_nothing_secret_is_reported(telemetry, fault):
    """Neither key, user name, text, context nor a word of the store's is in a span or a metric, whatever happens."""
    async with NetoSandbox(username="CANARY-user", api_key="CANARY-key") as store:
        if fault is not None:
            store.faults.always(fault)
        async with AsyncNetoClient(store.url, username="CANARY-user", api_key="CANARY-key") as neto:
            telemetry.watch(neto)
            await neto.add_customer_logs([(log("CANARY"), "CANARY"), (log("CANARY"), "CANARY")])
            with contextlib.suppress(NetoError):
                await neto.add_customer_log(CustomerLog(customer_name="CANARY"), context="CANARY")

    assert telemetry.calls()
    everything = [span.to_json() for span in telemetry.spans.get_finished_spans()]
    everything.append(telemetry.reader.get_metrics_data().to_json())
    assert [] == [text for text in everything if "CANARY" in text]
