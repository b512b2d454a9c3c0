"""Breaks what can break under load, at random, and then holds every store against what people were promised."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from docqa.service import READY_WITHIN, Service
from docqa.stack import Stack

from tests.chaos.acting import people
from tests.chaos.faults import Breakable, Faults
from tests.chaos.judging import all_ended, blind_spots, judged
from tests.engines.choosing import own_broker
from tests.engines.native_minio import NativeMinio
from tests.integration.cluster import Cluster, told_of
from tests.stubs.behaviour import Behaviour
from tests.stubs.providers import OpenAIStub

REPLICAS = {"embedder": 2, "gateway": 2, "auth": 2, "ingest": 2, "qa": 2}
SHOWN = 20


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--wipes", type=int, default=1, help="how many of the faults lose Kafka's disk")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between two things that a person does")
    parser.add_argument("--people", type=int, default=3, help="how many of them at once")
    asked = parser.parse_args(words)
    return asyncio.run(_run(asked))


async def _run(asked: argparse.Namespace) -> int:
    _say(f"seed {asked.seed}: {asked.faults} faults, {asked.wipes} of them lose Kafka's disk")
    with tempfile.TemporaryDirectory(prefix="docqa-chaos-") as folder:
        async with _breakable(Path(folder)) as breakable:
            cluster = breakable.cluster
            faults = Faults(breakable, random.Random(asked.seed))
            seeds = count()
            load = [
                asyncio.create_task(people(cluster.gateways, random.Random(f"{asked.seed}:{one}"), seeds, asked.pause))
                for one in range(asked.people)
            ]
            await faults.happen(asked.faults, wipes=asked.wipes)
            for task in load:
                task.cancel()
            histories = [history for known in await asyncio.gather(*load) for history in known]
            for service in [*cluster.stack.services.values(), *cluster.replicas]:
                await _ready_again(service)
            await all_ended(cluster)
            found, ends = await judged(cluster, histories, log_is_whole=not asked.wipes)
            blind = await blind_spots(cluster, max(histories, key=lambda history: len(history.kept)))
    _say(f"faults: {dict(faults.counted)}")
    _say(
        f"promised: {sum(len(one.promised) for one in histories)}, refused: {sum(one.refused for one in histories)}, "
        f"answer lost: {sum(len(one.unknown) for one in histories)}; "
        f"deleted: {sum(len(one.deleted) for one in histories)}; answered: {sum(one.answered for one in histories)}, "
        f"{sum(one.told for one in histories)} with what was asked for; "
        f"ended: {dict(ends)}"
    )
    _say(f"wrong: {len(found)}")
    for mistake in found[:SHOWN]:
        _say(f"  {mistake}")
    if not found:
        _say(f"None in {asked.faults} faults: fewer than {3 / asked.faults:.1%} of them do harm, with 95 % confidence.")
    if not sum(one.told for one in histories):
        blind.append("no answer told anything")
    for spot in blind:
        _say(f"this proves nothing: {spot}")
    return 1 if found or blind else 0


async def _ready_again(service: Service) -> None:
    """Also the one that was killed last, and has still to be started again."""
    async with asyncio.timeout(READY_WITHIN):
        while await service.missing() is not None:  # noqa: ASYNC110 - it is another process that is watched
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _breakable(folder: Path) -> AsyncIterator[Breakable]:
    """Two of each service. PostgreSQL and Chroma are the stack's, for they keep what they were told through a crash."""
    provider = OpenAIStub()
    provider.embeddings.usual = Behaviour(delay=0.2)
    minio = NativeMinio(folder / "minio")
    try:
        await minio.start()
        async with own_broker(folder / "broker") as broker:
            user = await minio.addresses.for_a_stack()
            user |= {"DOCQA_KAFKA": broker.bootstrap_servers, **told_of(provider)}
            async with Stack(folder / "stack", user=user) as stack:
                cluster = Cluster(stack, user, provider)
                try:
                    await cluster.scale(REPLICAS)
                    yield Breakable(cluster, broker, minio)
                finally:
                    await cluster.close()
    finally:
        await minio.remove()
        provider.close()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
