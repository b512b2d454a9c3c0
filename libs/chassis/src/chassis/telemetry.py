"""Traces: W3C trace context in and out, spans to a collector if one is named, and next to nothing if not."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis.settings import ServiceSettings

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("docqa")


def traceparent() -> str | None:
    """The current trace as a `traceparent` header's value; None outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str | None:
    """The current trace's id in hex; None outside of any."""
    current = trace.get_current_span().get_span_context()
    return trace.format_trace_id(current.trace_id) if current.is_valid else None


@contextmanager
def continue_trace(parent: str | None) -> Iterator[None]:
    """What happens within belongs to the trace of `parent`; with None or nonsense, to none."""
    carrier = {"traceparent": parent} if parent and TRACEPARENT.fullmatch(parent) else {}
    token = context.attach(_propagator.extract(carrier, context=context.Context()))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def request_trace(parent: str | None) -> Iterator[None]:
    """A request belongs to its caller's trace, or else begins one: also where no spans are made, so that the lines in
    the logs of several services, and the facts said on the way, can be tied together.
    """
    if trace.get_current_span().get_span_context().is_valid:
        yield  # made by the instrumentation, from the same header
        return
    with continue_trace(parent):
        if trace_id() is not None:
            yield
            return
        with continue_trace(f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"):
            yield


@contextmanager
def span(name: str, **ids: str | int) -> Iterator[None]:
    """A span around a piece of work; `ids` are ids and counts, never text."""
    with _tracer.start_as_current_span(name, attributes=dict(ids), record_exception=False):
        yield


def configure(settings: ServiceSettings) -> None:
    """Send spans to `settings.otlp_endpoint`; without one, nothing is set up and nothing is imported."""
    if settings.otlp_endpoint is None:
        return
    from chassis.exporting import export_spans

    export_spans(settings)


def observe_app(app: FastAPI, settings: ServiceSettings) -> None:
    """A span for each request of `app`, if spans go anywhere; none for each message of its body."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, excluded_urls="/health/.*,/metrics", exclude_spans=["send", "receive"])
