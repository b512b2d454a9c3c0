"""Traces: W3C trace context in and out, spans to a collector if one is named, and next to nothing if not."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_tracer = trace.get_tracer("docqa")


def traceparent() -> str | None:
    """The current trace as a `traceparent` header's value; None outside of any."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return None
    return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"


def trace_id() -> str | None:
    """The current trace's id in hex; None outside of any."""
    current = trace.get_current_span().get_span_context()
    return f"{current.trace_id:032x}" if current.is_valid else None


@contextmanager
def continue_trace(parent: str | None) -> Iterator[None]:
    """What happens within belongs to the trace of `parent`; with None or nonsense, to none."""
    with _within(_parsed(parent)):
        yield


@contextmanager
def request_trace(parent: str | None) -> Iterator[None]:
    """A request belongs to its caller's trace, or else begins one: also where no spans are made, so that the lines in
    the logs of several services, and the facts said on the way, can be tied together.
    """
    if trace.get_current_span().get_span_context().is_valid:
        yield  # made by the instrumentation, from the same header
        return
    given = _parsed(parent)
    with _within(given if given.is_valid else _begun()):
        yield


def _parsed(parent: str | None) -> SpanContext:
    parts = TRACEPARENT.fullmatch(parent) if parent else None
    if parts is None:
        return trace.INVALID_SPAN_CONTEXT
    trace_number, span_number, flags = (int(part, 16) for part in parts.groups())
    return SpanContext(trace_number, span_number, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))


def _begun() -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)  # whether a service behind records it is for that service to say
    return SpanContext(secrets.randbits(128) | 1, secrets.randbits(64) | 1, is_remote=True, trace_flags=sampled)


@contextmanager
def _within(parent: SpanContext) -> Iterator[None]:
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(parent), context.Context()))
    try:
        yield
    finally:
        context.detach(token)


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


def observe_app(app: "FastAPI", settings: ServiceSettings) -> None:
    """A span for each request of `app`, if spans go anywhere; none for each message of its body."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, excluded_urls="/health/.*,/metrics", exclude_spans=["send", "receive"])
