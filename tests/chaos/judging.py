"""What people were promised, held against what the stores have once everything is quiet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.chaos.history import History
from tests.chaos.leftovers import NEVER, leftovers, unseen
from tests.e2e.waiting import eventually
from tests.integration.auditing import mistakes
from tests.integration.cluster import Cluster

QUIET_WITHIN = 300.0
RUNNING = """
    SELECT (SELECT count(*) FROM documents WHERE status IN ('uploaded', 'parsing', 'embedding'))
        + (SELECT count(*) FROM deletions WHERE completed_at IS NULL) AS running
"""
OF_OWNER = "SELECT id, sha256, status, error_code FROM documents WHERE owner_id = :owner"
DELETIONS = "SELECT id, document_id FROM deletions WHERE owner_id = :owner"
FAILED_RIGHTLY = {"processing.crashed"}
"""A job that was taken down with its worker three times: it can be tried again by whoever wants it."""


async def all_ended(cluster: Cluster) -> None:
    """Waits until no document is under way, and none on its way out. Raises `TimeoutError`."""

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
        deletions = await cluster.rows("gateway", DELETIONS, owner=history.owner)
        deleted = {str(row["document_id"]): str(row["id"]) for row in deletions} | history.deleted
        ends.update(row["error_code"] or row["status"] for row in rows)
        ends["deleted"] += len(deleted)
        found += history.seen
        found += broken_promises(history, {id_: row["sha256"] for id_, row in there.items()}, set(deleted))
        found += [
            f"{id_}: ended {row['error_code'] or row['status']}"
            for id_, row in there.items()
            if row["status"] != "ready" and row["error_code"] not in FAILED_RIGHTLY
        ]
        ready = [id_ for id_, row in there.items() if row["status"] == "ready"]
        found += await mistakes(cluster, history.owner, ready, log_is_whole=log_is_whole)
        found += await leftovers(cluster, history.owner, deleted)
    return found, ends


async def blind_spots(cluster: Cluster, history: History) -> list[str]:
    """What the judge does not see though it is there: an upload that never was, one forgotten, one not deleted."""
    kept = history.kept[0]
    planted = {
        "an upload that never was": {**history.promised, "0" * 64: NEVER},
        "a document that nobody sent": {digest: id_ for digest, id_ in history.promised.items() if id_ != kept},
    }
    blind = await unseen(cluster, history.owner, kept)
    for lie, promised in planted.items():
        found, _ = await judged(cluster, [replace(history, promised=promised)], log_is_whole=False)
        blind += [] if found else [f"not seen: {lie}"]
    return blind


def broken_promises(history: History, there: dict[str, str], deleted: set[str]) -> list[str]:
    """`there`: the hash of each document that is there; `deleted`: those that are gone at somebody's wish."""
    known = set(history.promised) | history.unknown
    wished = set(history.deleted) | history.perhaps_deleted
    return [
        *(
            f"{id_}: promised and not there"
            for digest, id_ in history.promised.items()
            if id_ not in deleted & wished and there.get(id_) != digest
        ),
        *(f"{id_}: there, and nobody sent it" for id_, digest in there.items() if digest not in known),
        *(f"{id_}: deleted, and nobody wished it" for id_ in deleted - wished),
    ]
