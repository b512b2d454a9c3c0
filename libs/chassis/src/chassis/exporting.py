"""Spans on their way to a collector. Loaded only if one is named."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status
from opentelemetry.util.types import AttributeValue

from chassis.settings import ServiceSettings

ADDRESSES = ("http.url", "url.full", "http.target", "url.path")
"""Attributes that repeat an address: the secrets of links stand in its path, the keys of providers in its query."""

ORIGIN = re.compile(r"\w+://[^/?#]*")

SAFE_OF_EXCEPTION = ("exception.type",)


def export_spans(settings: ServiceSettings) -> None:
    """Spans of this process, of its HTTP clients and its database go to the collector, without anything private."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return  # set up before
    resource = Resource.create(
        {
            "service.name": f"docqa-{settings.service}",
            "deployment.environment.name": settings.environment,
        }
    )
    provider = TracerProvider(resource=resource)
    # A collector that hangs must not hold up the end of the process, when the last spans are sent.
    exporter = OTLPSpanExporter(f"{settings.otlp_endpoint}/v1/traces", timeout=3)
    provider.add_span_processor(BatchSpanProcessor(Discreet(exporter)))
    trace.set_tracer_provider(provider)
    AioHttpClientInstrumentor().instrument()
    if find_spec("httpx") is not None:  # the providers' libraries speak through it
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        HTTPXClientInstrumentor().instrument()
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]


class Discreet(SpanExporter):
    """Leaves out what instrumentations repeat of people's data: paths and queries of addresses, words of exceptions.

    And queries that belong to nothing: an idle service looks for work all the time, which would be a trace each.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        told = [discreet(span) for span in spans if not _is_lone_query(span)]
        return self._exporter.export(told) if told else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _is_lone_query(span: ReadableSpan) -> bool:
    return span.parent is None and "db.system" in (span.attributes or {})


def discreet(span: ReadableSpan) -> ReadableSpan:
    """The span with what may leave the house."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_without_secrets(span),
        events=[_without_words(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_secrets(span: ReadableSpan) -> dict[str, AttributeValue]:
    return {
        name: _address(str(value), span) if name in ADDRESSES else value
        for name, value in (span.attributes or {}).items()
        if name != "url.query"
    }


def _address(given: str, span: ReadableSpan) -> str:
    """What we call, without its query. What we are called by holds whatever a client likes: only the route is told."""
    if span.kind is SpanKind.CLIENT:
        return given.partition("?")[0]
    origin = ORIGIN.match(given)
    route = (span.attributes or {}).get("http.route", "")
    return f"{origin[0] if origin else ''}{route}"


def _without_words(event: Event) -> Event:
    kept = {name: value for name, value in (event.attributes or {}).items() if name in SAFE_OF_EXCEPTION}
    return Event(event.name, kept, event.timestamp)
