"""An OpenTelemetry collector that only remembers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stubs.http import HttpStub, Reply, Request


@dataclass(frozen=True)
class Span:
    """What a service said of a piece of its work; `parent` is empty at the root of a trace.

    `began` and `ended` are seconds since the epoch.
    """

    service: str
    name: str
    trace: str
    id: str
    parent: str
    began: float = 0.0
    ended: float = 0.0


class CollectorStub:
    """Takes OTLP over HTTP at `url`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self._server = HttpStub(self._take)

    @property
    def url(self) -> str:
        return self._server.url

    def close(self) -> None:
        self._server.close()

    def traces(self) -> dict[str, Sequence[Span]]:
        """All spans seen, by their trace."""
        found: dict[str, list[Span]] = defaultdict(list)
        for span in list(self.spans):
            found[span.trace].append(span)
        return dict(found)

    async def _take(self, request: Request, reply: Reply) -> None:
        self.bodies.append(request.body)
        sent = ExportTraceServiceRequest.FromString(request.body)
        for resource in sent.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            service=names["service.name"].removeprefix("docqa-"),
                            name=span.name,
                            trace=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            began=span.start_time_unix_nano / 1e9,
                            ended=span.end_time_unix_nano / 1e9,
                        )
                    )
        await reply.send(200, b"", kind="application/x-protobuf")
