"""The embedder, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from chassis import logs, telemetry
from chassis.database import check_of, create_engine, create_sessions
from chassis.migrating import refuse_wrong_schema
from chassis.objects import ObjectStore, open_store
from chassis.settings import load
from chassis.web import create_app as create_web_app
from chassis.web import serve
from fastapi import FastAPI
from messaging.chores import Chore
from messaging.delivery import Delivery
from messaging.outbox import Outbox

from embedder.building import BuildIndex
from embedder.chroma import Chroma
from embedder.chunk_files import ChunkFiles
from embedder.embedding import EmbedBatch
from embedder.errors import ERRORS
from embedder.keeping import IndexKeeper
from embedder.listing import ListIndexes
from embedder.models_in_use import ModelsInUse
from embedder.rebuilding import RebuildDocument
from embedder.routes import router
from embedder.settings import EmbedderSettings
from embedder.shards import Shards
from embedder.subscribers import Subscribers
from embedder.workers import Drop, Embed, Purge, Rebuild, Sweep


def create_app(settings: EmbedderSettings) -> FastAPI:
    """The service. Its database must be migrated; broker, object store, Chroma and provider may be away."""
    telemetry.configure(settings)
    engine = create_engine(settings, pool_size=10, max_overflow=20)
    sessions = create_sessions(engine)
    store: ObjectStore = open_store(settings)
    chroma = Chroma(settings.chroma_url, timeout=settings.chroma_timeout)
    shards = Shards(chroma)
    models = ModelsInUse(settings)
    outbox = Outbox(settings.service)
    build = BuildIndex(sessions, settings=settings, models=models, shards=shards)
    keeper = IndexKeeper(sessions, settings=settings, shards=shards, build=build, outbox=outbox, count=settings.shards)
    embed = EmbedBatch(sessions, files=ChunkFiles(store), models=models, shards=shards, outbox=outbox)
    delivery = Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=Subscribers(outbox).subscriptions(),
        works=[
            Embed(
                embed,
                sessions=sessions,
                shards=shards,
                outbox=outbox,
                concurrency=settings.batches,
                tries=settings.tries,
            ),
            Rebuild(
                RebuildDocument(sessions, embed=embed, shards=shards), keeper=keeper, concurrency=settings.rebuilds
            ),
            Drop(sessions, shards),
            Purge(sessions, shards=shards, outbox=outbox),
            Sweep(sessions, shards=shards, outbox=outbox),
        ],
        chores=[Chore(name="drop_retired_indexes", every=timedelta(hours=1), run=keeper.drop_retired)],
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        try:
            async with keeper.running(), delivery.running():
                yield
        finally:
            await models.close()
            await chroma.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=[router],
        lifespan=lifespan,
        readiness={
            "database": check_of(engine),
            "object_store": store.check,
            "chroma": chroma.check,
            "index": keeper.check,
            **delivery.readiness,
        },
        liveness=delivery.liveness,
        errors=ERRORS,
    )
    app.state.build_index = build
    app.state.list_indexes = ListIndexes(sessions)
    app.state.index_keeper = keeper
    return app


def main() -> None:
    settings = load(EmbedderSettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
