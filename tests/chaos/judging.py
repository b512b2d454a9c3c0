"""What people were promised, held against what the stores have once everything is quiet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.chaos.history import History
from tests.e2e.waiting import eventually
from tests.integration.auditing import mistakes
from tests.integration.cluster import Cluster

QUIET_WITHIN = 300.0
RUNNING = "SELECT count(*) AS running FROM documents WHERE status IN ('uploaded', 'parsing', 'embedding')"
OF_OWNER = "SELECT id, sha256, status, error_code FROM documents WHERE owner_id = :owner"
FAILED_RIGHTLY = {"processing.crashed"}
"""A job that was taken down with its worker three times: it can be tried again by whoever wants it."""


async def all_ended(cluster: Cluster) -> None:
    """Waits until no document is under way. Raises `TimeoutError`."""

    async def ended() -> bool:
        (row,) = await cluster.rows("gateway", RUNNING)
        return bool(row["running"] == 0)

    await eventually(ended, within=QUIET_WITHIN)


async def judged(
    cluster: Cluster, histories: Sequence[History], *, log_is_whole: bool
) -> tuple[list[str], Counter[str]]:
    """What is wrong, and how many documents came to which end."""
    found: list[str] = []
    ends: Counter[str] = Counter()
    for history in histories:
        rows = await cluster.rows("gateway", OF_OWNER, owner=history.owner)
        there = {str(row["id"]): row for row in rows}
        ends.update(row["error_code"] or row["status"] for row in rows)
        found += broken_promises(history, {id_: row["sha256"] for id_, row in there.items()})
        found += [
            f"{id_}: ended {row['error_code'] or row['status']}"
            for id_, row in there.items()
            if row["status"] != "ready" and row["error_code"] not in FAILED_RIGHTLY
        ]
        ready = [id_ for id_, row in there.items() if row["status"] == "ready"]
        found += await mistakes(cluster, history.owner, ready, log_is_whole=log_is_whole)
    return found, ends


def broken_promises(history: History, there: dict[str, str]) -> list[str]:
    """`there`: the hash of each document that is there."""
    known = set(history.promised) | history.unknown
    return [
        *(f"{id_}: promised and not there" for digest, id_ in history.promised.items() if there.get(id_) != digest),
        *(f"{id_}: there, and nobody sent it" for id_, digest in there.items() if digest not in known),
    ]


def lies(history: History) -> Sequence[History]:
    """The same with an upload that never was, and with one forgotten: a judge who finds nothing here is blind."""
    (digest, _), *_ = history.promised.items()
    forgotten = {each: id_ for each, id_ in history.promised.items() if each != digest}
    return (
        replace(history, promised={**history.promised, "0" * 64: "00000000-0000-7000-8000-000000000000"}),
        replace(history, promised=forgotten),
    )
