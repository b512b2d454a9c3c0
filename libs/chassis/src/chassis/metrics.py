"""The closed list of metrics. Nothing else is measured under a name of ours; docs/metrics.md says what each one means.

Labels are few and closed, too: never an id, a path or anything that a user can make up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds of what a person waits for."""

SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Seconds of what happens in the background."""


@dataclass(frozen=True)
class Declared:
    """A metric of ours."""

    kind: str
    labels: tuple[str, ...]
    meaning: str


DECLARED: dict[str, Declared] = {}
"""Every metric by its name in Prometheus."""


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    made = Counter(name, meaning, labels)
    DECLARED[f"{name}_total"] = Declared("counter", tuple(labels), meaning)
    return made


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    made = Gauge(name, meaning, labels)
    DECLARED[name] = Declared("gauge", tuple(labels), meaning)
    return made


def histogram(name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = FAST) -> Histogram:
    made = Histogram(name, meaning, labels, buckets=buckets)
    DECLARED[name] = Declared("histogram", tuple(labels), meaning)
    return made


HTTP_REQUESTS = counter("docqa_http_requests", "Requests answered.", ["method", "route", "status"])
HTTP_SECONDS = histogram(
    "docqa_http_request_seconds",
    "Time until a request was answered; for event streams, until the stream began.",
    ["method", "route"],
)

DOCUMENTS = gauge("docqa_documents", "Documents by status, as the gateway's projection has them.", ["status"])
STAGE_SECONDS = histogram(
    "docqa_stage_seconds",
    "Time that a version which became ready spent in each stage, waiting included.",
    ["stage"],
    SLOW,
)
UPLOAD_TO_READY_SECONDS = histogram(
    "docqa_upload_to_ready_seconds", "Time from the acceptance of an upload to its first `ready`.", (), SLOW
)

RECONCILER_ROUNDS = counter(
    "docqa_reconciler_rounds", "Documents and deletions that did not move and were asked for again.", ["what"]
)

OUTBOX_DEPTH = gauge("docqa_outbox_depth", "Facts said and not yet sent to the broker.")
OUTBOX_OLDEST_SECONDS = gauge("docqa_outbox_oldest_seconds", "Age of the oldest fact that is not yet sent; 0 if none.")
OUTBOX_SENT = counter("docqa_outbox_sent", "Facts sent to the broker.", ["type"])
CONSUMER_LAG = gauge("docqa_consumer_lag", "Records that a group has not yet read.", ["topic", "partition"])
FACTS_HEARD = counter("docqa_facts_heard", "Records handled, by fact and outcome.", ["type", "outcome"])
DEAD_LETTERS = counter(
    "docqa_dead_letters", "Records and facts put aside because nobody could read or send them.", ["reason"]
)
JOBS = gauge("docqa_jobs", "Jobs by kind and state.", ["kind", "state"])
JOB_RETRIES = counter(
    "docqa_job_retries", "Jobs put back to be tried again, by the kind of failure.", ["kind", "failure"]
)
JOB_ALERTS = counter(
    "docqa_job_alerts", "Jobs that must never fail and have been tried for longer than they should.", ["kind"]
)
JOB_SECONDS = histogram("docqa_job_seconds", "Time one taking of a job took.", ["kind", "outcome"], SLOW)

PROVIDER_CALLS = counter("docqa_provider_calls", "Calls to a model by outcome.", ["provider", "operation", "outcome"])
PROVIDER_SECONDS = histogram("docqa_provider_call_seconds", "Time a call to a model took.", ["provider", "operation"])
PROVIDER_TOKENS = counter(
    "docqa_provider_tokens", "Tokens a provider says were used.", ["provider", "operation", "direction"]
)

ASK_SECONDS = histogram("docqa_ask_step_seconds", "Time of each step of an answer.", ["step"])
ASKS = counter("docqa_asks", "Questions by how they ended.", ["outcome"])
