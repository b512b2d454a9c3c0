"""The embedder, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from chassis import logs, telemetry
from chassis.chroma import Chroma
from chassis.database import Sessions, check_of, create_engine, create_sessions
from chassis.objects import ObjectStore, open_store
from chassis.schema import refuse_wrong_schema
from chassis.serving import serve
from chassis.settings import load
from chassis.transactions import Transactions
from chassis.web import create_app as create_web_app
from fastapi import FastAPI
from messaging.chores import Chore
from messaging.delivery import Delivery
from messaging.outbox import Outbox
from messaging.workers import Work
from stages.dropping import Drop
from stages.purging import Purge, Sweep
from stages.stage import Stage

from embedder.building import BuildIndex
from embedder.chunk_files import ChunkFiles
from embedder.embedding import EmbedBatch
from embedder.errors import ERRORS
from embedder.holdings import EmbeddedDocuments
from embedder.keeping import IndexKeeper
from embedder.listing import ListIndexes
from embedder.models_in_use import ModelsInUse
from embedder.rebuilding import RebuildDocument
from embedder.routes import router
from embedder.settings import EmbedderSettings
from embedder.shards import Shards
from embedder.subscribers import Subscribers
from embedder.workers import Embed, Rebuild


@dataclass(frozen=True)
class Parts:
    """What the embedder is made of, apart from its edges."""

    settings: EmbedderSettings
    sessions: Sessions
    stage: Stage
    chroma: Chroma
    shards: Shards
    models: ModelsInUse
    embed: EmbedBatch
    build: BuildIndex
    keeper: IndexKeeper

    @classmethod
    def of(cls, settings: EmbedderSettings, sessions: Sessions, transactions: Transactions, store: ObjectStore) -> Self:
        outbox = Outbox(settings.service)
        chroma = Chroma(settings.chroma_url, timeout=settings.chroma_timeout)
        shards = Shards(chroma)
        models = ModelsInUse(settings)
        build = BuildIndex(sessions, settings=settings, models=models, shards=shards)
        return cls(
            settings=settings,
            sessions=sessions,
            stage=Stage(
                name="embedder",
                outbox=outbox,
                holdings=EmbeddedDocuments(sessions, shards),
                makes=Embed.kind,
                writes_too=(Rebuild.kind,),
            ),
            chroma=chroma,
            shards=shards,
            models=models,
            embed=EmbedBatch(transactions, files=ChunkFiles(store), models=models, shards=shards, outbox=outbox),
            build=build,
            keeper=IndexKeeper(
                sessions, settings=settings, shards=shards, build=build, outbox=outbox, count=settings.shards
            ),
        )

    def works(self) -> list[Work]:
        """All that the embedder works on."""
        rebuild = RebuildDocument(self.sessions, embed=self.embed, shards=self.shards)
        return [
            Embed(
                self.embed,
                sessions=self.sessions,
                shards=self.shards,
                stage=self.stage,
                concurrency=self.settings.batches,
                tries=self.settings.tries,
            ),
            Rebuild(rebuild, keeper=self.keeper, concurrency=self.settings.rebuilds),
            Drop(self.stage, self.sessions),
            Purge(self.stage, self.sessions, concurrency=4),
            Sweep(self.stage, concurrency=2),
        ]

    async def close(self) -> None:
        await self.models.close()
        await self.chroma.close()


def create_app(settings: EmbedderSettings) -> FastAPI:
    """The service. Its database must be migrated; broker, object store, Chroma and provider may be away."""
    telemetry.configure(settings)
    engine = create_engine(settings, pool_size=10, max_overflow=20)
    sessions = create_sessions(engine)
    transactions = Transactions(engine, sessions)
    store = open_store(settings)
    parts = Parts.of(settings, sessions, transactions, store)
    delivery = Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=Subscribers(parts.stage).subscriptions(),
        works=parts.works(),
        chores=[
            Chore(name="drop_retired_indexes", every=timedelta(hours=1), run=parts.keeper.drop_retired),
            Chore(name="renew_index", every=timedelta(hours=1), run=parts.keeper.renew),
        ],
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        try:
            async with parts.keeper.running(), delivery.running():
                yield
        finally:
            await parts.close()
            await transactions.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=[router],
        lifespan=lifespan,
        readiness={
            "database": check_of(engine),
            "object_store": store.check,
            "chroma": parts.chroma.check,
            "index": parts.keeper.check,
            **delivery.readiness,
        },
        liveness=delivery.liveness,
        errors=ERRORS,
    )
    app.state.build_index = parts.build
    app.state.list_indexes = ListIndexes(sessions)
    app.state.index_keeper = parts.keeper
    return app


def main() -> None:
    settings = load(EmbedderSettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
