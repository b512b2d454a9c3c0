"""Ingest, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from chassis import logs, telemetry
from chassis.database import Sessions, check_of, create_engine, create_sessions
from chassis.http import HttpClient
from chassis.identity import TokenVerifier
from chassis.objects import ObjectStore, open_store
from chassis.remote_keys import RemoteKeys
from chassis.schema import refuse_wrong_schema
from chassis.serving import serve
from chassis.settings import load
from chassis.web import create_app as create_web_app
from fastapi import FastAPI
from messaging.chores import Chore
from messaging.delivery import Delivery
from messaging.outbox import Outbox
from messaging.workers import Work
from stages.dropping import Drop
from stages.purging import Purge, Sweep
from stages.stage import Stage

from ingest.errors import ERRORS
from ingest.holdings import SplitDocuments
from ingest.parsing import ParseDocument
from ingest.readers import Readers
from ingest.routes import router
from ingest.scratch import remove_abandoned_scratch
from ingest.settings import IngestSettings
from ingest.showing import ShowChunks
from ingest.subscribers import Subscribers
from ingest.tidying import remove_orphans
from ingest.workers import Parse


def create_app(settings: IngestSettings) -> FastAPI:
    """The service. Its database must be migrated; broker, object store and auth may be away."""
    telemetry.configure(settings)
    engine = create_engine(settings)
    sessions = create_sessions(engine)
    store = open_store(settings)
    readers = Readers(settings.pdf_engine)
    stage = stage_of(Outbox(settings.service), store)
    http = HttpClient(settings.auth_url, silence=5)
    delivery = Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=Subscribers(stage, settings).subscriptions(),
        works=works(settings, sessions, store=store, readers=readers, stage=stage),
        chores=[Chore(name="remove_orphans", every=timedelta(days=1), run=partial(remove_orphans, store=store))],
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        remove_abandoned_scratch()
        try:
            async with readers.running(), delivery.running():
                yield
        finally:
            await http.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=[router],
        lifespan=lifespan,
        readiness={"database": check_of(engine), "object_store": store.check, **delivery.readiness},
        liveness=delivery.liveness,
        errors=ERRORS,
    )
    app.state.verifier = TokenVerifier(RemoteKeys(http, settings.auth_url))
    app.state.show_chunks = ShowChunks(sessions, store)
    return app


def stage_of(outbox: Outbox, store: ObjectStore) -> Stage:
    """What ingest is on a document's way."""
    return Stage(name="ingest", outbox=outbox, holdings=SplitDocuments(store), makes=Parse.kind)


def works(
    settings: IngestSettings, sessions: Sessions, *, store: ObjectStore, readers: Readers, stage: Stage
) -> list[Work]:
    """All that ingest works on."""
    parse = ParseDocument(store=store, readers=readers, settings=settings)
    return [
        Parse(parse, store=store, stage=stage, concurrency=settings.readers),
        Drop(stage, sessions),
        # Whoever has died over a document holds its lease for half a minute.
        Purge(stage, sessions, concurrency=4, backoff_ceiling=timedelta(seconds=15)),
        Sweep(stage, concurrency=2),
    ]


def main() -> None:
    settings = load(IngestSettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
