"""
OpenTelemetry: a span for each call, linked to the spans its records come from, and the client's counts as metrics.

    async with AsyncNetoClient.from_env() as neto:
        instrument(neto)

A call may carry the records of many callers, so its span is the child of none of them: it is a root, with a link to
each span that was current where a record, or a run, was submitted. Names and attributes follow the semantic conventions
1.44.0 for HTTP clients (spans, ``http.client.request.duration``: stable; ``http.client.active_requests``,
``http.request.body.size``: in development), and borrow ``messaging.batch.message_count`` (in development) from those
for messaging: https://opentelemetry.io/docs/specs/semconv/http/http-spans/, read 2026-11. What no convention knows
begins with ``neto.``. No key, user name, text of a customer, context or word of Neto's is in any of it: the engine
passes an observer none of them.

May import: client, outcomes, settings, wire, the API of OpenTelemetry. Needs the extra ``otel``.
"""

from __future__ import annotations

import operator
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

from neto_async._version import VERSION
from neto_async.client import AsyncNetoClient
from neto_async.outcomes import Attempt
from neto_async.results import Statistics
from neto_async.settings import API_PATH
from neto_async.wire import VerdictKind

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, TracerProvider
except ImportError as _error:
    raise ImportError('the OpenTelemetry adapter needs its API: pip install "neto_async[otel]"') from _error

__all__ = ["Instrumentation", "instrument"]

Attributes: TypeAlias = Mapping[str, str | int]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

MAX_LINKS = 128
"""Links of a span, at most: what SDKs keep by default (OpenTelemetry specification 1.47.0, span limits)."""

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds, as the convention for ``http.client.request.duration`` advises."""

OUTCOMES = {
    "Added": "added",
    "Updated": "updated",
    "Rejected": "rejected",
    "Invalid": "invalid",
    "NotSent": "not_sent",
    "Unknown": "unknown",
}
"""The outcomes' names in `Statistics.unawaited`, and as its attributes."""

WAITING_ON = ("slot", "quota", "quota server", "pause", "probe")
"""What `Statistics.waiting_on` may say."""


def instrument(
    client: AsyncNetoClient,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Instrumentation:
    """
    Trace a client's calls and measure what it does, from now on.

    Args:
        client: The client. It is held until `Instrumentation.detach`: where clients come and go, detach each.
        tracer_provider: Makes the spans; the global one by default.
        meter_provider: Takes the metrics; the global one by default.

    Returns:
        What ends it; also a context manager that does so on leaving.

    Raises:
        RuntimeError: The client's calls are observed already.
    """
    server = _server(client.store_url)
    meters = _meters(meter_provider)
    tracer = trace.get_tracer("neto_async", VERSION, tracer_provider, SCHEMA_URL)
    stop_observing = client.observe(_CallTracer(tracer, meters, server, client.store_url + API_PATH))
    source = _Source(server, client.statistics)
    meters.add(source)
    return Instrumentation(stop_observing, meters, source)


@frozen(eq=False, repr=False)
class Instrumentation:
    """A client that is instrumented; `detach` ends it. Also a context manager."""

    _stop_observing: Callable[[], None]
    _meters: _Meters
    _source: _Source

    def detach(self) -> None:
        """End spans for new calls, and stop the client's counts where they are; a second time does nothing."""
        self._stop_observing()
        self._meters.remove(self._source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.detach()


# -- spans ------------------------------------------------------------------------------------------------------------


@frozen(repr=False)
class _CallTracer:
    """The observer of a client's calls; see `neto_async.sending.observing.CallObserver`."""

    tracer: Tracer
    meters: _Meters
    server: Attributes
    url: str

    def handed_in(self) -> SpanContext | None:
        """Give the span that is current at the caller's, if any."""
        current = trace.get_current_span().get_span_context()
        return current if current.is_valid else None

    def began(self, number: int, origins: Sequence[Any], records: int, body_bytes: int, action: str) -> Span:
        """Start a span and make it current, for what instruments the HTTP library and for log lines."""
        # Empty, and not the current one: the client may have been made in the course of some request.
        empty = Context()
        links, left_out = _links(origins, records)
        span = self.tracer.start_span(
            f"POST {action}",  # "{method} {target}": all actions have one path, so the action is the target
            context=empty,
            kind=SpanKind.CLIENT,
            links=links,
            attributes={
                **self.server,
                "http.request.method": "POST",
                "url.full": self.url,
                "http.request.body.size": body_bytes,
                "messaging.batch.message_count": records,
                "neto.call": number,
            },
        )
        if left_out:
            span.set_attribute("neto.links_left_out", left_out)
        # For good: the call's task ends after the call.
        otel_context.attach(trace.set_span_in_context(span, empty))
        return span

    def ended(self, began: Span, attempt: Attempt, verdict: VerdictKind | None) -> None:
        """End the span with the facts of the call, and measure the call."""
        facts = _facts(attempt, verdict)
        error_type = _error_type(attempt, verdict)
        if error_type is not None:
            facts["error.type"] = error_type
            began.set_status(Status(StatusCode.ERROR))
        began.set_attributes(facts)
        # While the span is current, so that the measurement can name it as its example.
        self.meters.duration.record(attempt.seconds, {**self.server, "http.request.method": "POST", **facts})
        began.end()


def _links(origins: Sequence[Any], records: int) -> tuple[list[Link], int]:
    """Give a link for each span among the origins, with the number of its records, and how many links are too many."""
    each = records // len(origins)  # one origin for each record, or one for all of a run's
    contexts: dict[tuple[int, int], SpanContext] = {}
    counts: Counter[tuple[int, int]] = Counter()
    for origin in origins:
        if isinstance(origin, SpanContext):  # None where no span was current, or nobody watched yet
            key = (origin.trace_id, origin.span_id)
            contexts.setdefault(key, origin)
            counts[key] += each
    links = [Link(contexts[key], {"neto.records": count}) for key, count in counts.items()]
    return links[:MAX_LINKS], max(len(links) - MAX_LINKS, 0)


def _facts(attempt: Attempt, verdict: VerdictKind | None) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"neto.verdict": _verdict_name(verdict)}
    if attempt.status is not None:
        facts["http.response.status_code"] = attempt.status
    return facts


def _verdict_name(verdict: VerdictKind | None) -> str:
    return "never_left" if verdict is None else verdict.name.lower()


def _error_type(attempt: Attempt, verdict: VerdictKind | None) -> str | None:
    """Say what a call failed by: an error's class, an HTTP status, or what the answer meant; None if by nothing."""
    if attempt.failure is not None:
        return attempt.failure
    if verdict in {VerdictKind.ADDED, VerdictKind.UPDATED, VerdictKind.READ}:
        return None
    if attempt.status is not None and not 200 <= attempt.status < 300:  # noqa: PLR2004 - HTTP's own
        return str(attempt.status)
    return "outcome_unknown" if verdict is VerdictKind.UNKNOWN else _verdict_name(verdict)


def _server(store_url: str) -> Attributes:
    parts = urlsplit(store_url)
    assert parts.hostname is not None  # noqa: S101 - the client has checked it
    return {"server.address": parts.hostname, "server.port": parts.port or _DEFAULT_PORTS[parts.scheme]}


_DEFAULT_PORTS = {"http": 80, "https": 443}


# -- metrics ----------------------------------------------------------------------------------------------------------

Values: TypeAlias = Iterable[tuple[Attributes, float]]


@frozen(eq=False)
class _Source:
    """A client whose counts are asked for."""

    server: Attributes
    statistics: Callable[[], Statistics]


@frozen
class _Measure:
    """What one instrument shows of a client, and how the values of two clients for one store become one."""

    name: str
    unit: str
    description: str
    read: Callable[[Statistics], Values]
    combine: Callable[[float, float], float] = operator.add

    def gather(self, source: _Source, values: dict[tuple[Any, ...], float]) -> None:
        """Add the values of a client, by their attributes."""
        for attributes, value in self.read(source.statistics()):
            key = (*source.server.items(), *attributes.items())
            values[key] = self.combine(values[key], value) if key in values else value


def _outcomes(now: Statistics) -> Values:
    return [({"neto.outcome": name}, getattr(now, name)) for name in OUTCOMES.values()]


def _unawaited(now: Statistics) -> Values:
    return [({"neto.outcome": name}, now.unawaited.get(kind, 0)) for kind, name in OUTCOMES.items()]


def _waiting(now: Statistics) -> Values:
    return [({"neto.lane": lane}, getattr(now, f"waiting_{lane}")) for lane in ("single", "import", "update", "read")]


def _waiting_on(now: Statistics) -> Values:
    return [({"neto.waiting_on": what}, int(now.waiting_on == what)) for what in WAITING_ON]


def _quota_used(now: Statistics) -> Values:
    return [({"neto.quota.scope": "account" if now.quota_shared else "process"}, now.quota_used)]


def _one(name: str) -> Callable[[Statistics], Values]:
    return lambda now: [({}, getattr(now, name))]


def _halted(now: Statistics) -> Values:
    return [({}, int(now.halted))]


COUNTERS = (
    _Measure("neto.client.outcomes", "{record}", "Records that have their outcome.", _outcomes),
    _Measure("neto.client.unawaited", "{record}", "Those of them whose caller had been cancelled.", _unawaited),
    _Measure("neto.client.calls", "{call}", "Calls that have begun.", _one("calls")),
)
SUMS = (
    _Measure("http.client.active_requests", "{request}", "Number of active HTTP requests.", _one("in_flight")),
    _Measure("neto.client.waiting", "{record}", "Records that wait to be sent.", _waiting),
    _Measure("neto.client.waiting_on", "{client}", "Clients with records that wait, by what for.", _waiting_on),
    _Measure("neto.client.halted", "{client}", "Clients whose key the store refuses.", _halted),
)
GAUGES = (
    # No sum: clients that share a quota all give the same number.
    _Measure("neto.client.quota.used", "{call}", "Calls that count against the quota.", _quota_used, max),
    _Measure("neto.client.paused_for", "s", "Time until calls may go again.", _one("paused_for"), max),
    _Measure("neto.client.failing", "{call}", "Calls in a row that never left.", _one("failing"), max),
)


class _Meters:
    """
    The instruments of one provider.

    Made once, since a second client, or the same one again, must not make them twice, and the API knows no way to take
    an instrument back: they stay, and show the clients of the moment. Counters keep the counts of clients that are
    gone, because a counter never falls.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()  # providers collect in threads of their own
        self._sources: set[_Source] = set()
        self._kept: defaultdict[str, dict[tuple[Any, ...], float]] = defaultdict(dict)
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        for create, measures in (
            (meter.create_observable_counter, COUNTERS),
            (meter.create_observable_up_down_counter, SUMS),
            (meter.create_observable_gauge, GAUGES),
        ):
            for measure in measures:
                create(measure.name, [partial(self._observe, measure)], measure.unit, measure.description)

    def add(self, source: _Source) -> None:
        """Show a client."""
        with self._lock:
            self._sources.add(source)

    def remove(self, source: _Source) -> None:
        """Stop showing a client; keep its counts."""
        with self._lock:
            if source in self._sources:
                self._sources.remove(source)
                for counter in COUNTERS:
                    counter.gather(source, self._kept[counter.name])

    def _observe(self, measure: _Measure, _: CallbackOptions) -> list[Observation]:
        with self._lock:
            values = dict(self._kept[measure.name])
            for source in self._sources:
                measure.gather(source, values)
        return [Observation(value, dict(key)) for key, value in values.items()]


_ALL_METERS: weakref.WeakKeyDictionary[Any, _Meters] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def _meters(provider: MeterProvider | None) -> _Meters:
    # The global provider may not be set yet: until then the module is the key.
    key = metrics if provider is None else provider
    with _MAKING:
        if key not in _ALL_METERS:
            meter = metrics.get_meter("neto_async", VERSION, provider, SCHEMA_URL)
            _ALL_METERS[key] = _Meters(meter)
        return _ALL_METERS[key]
