"""The gateway, put together."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from chassis import logs
from chassis.database import Sessions, check_of, create_engine, create_sessions, reads_of
from chassis.http import HttpClient
from chassis.identity import TokenVerifier
from chassis.objects import ObjectStore, open_store
from chassis.remote_keys import RemoteKeys
from chassis.schema import refuse_wrong_schema
from chassis.serving import serve
from chassis.settings import load
from chassis.transactions import Transactions
from chassis.web import create_app as create_web_app
from fastapi import FastAPI
from messaging.chores import Chore
from messaging.delivery import Delivery
from messaging.outbox import Outbox
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import account_routes, document_routes, question_routes, reference
from gateway.callers import Callers, KeyExchange
from gateway.changes import Changes
from gateway.closing import CloseAccount, Closure, Farewell
from gateway.counting import Counting
from gateway.deleting import Delete
from gateway.errors import ERRORS
from gateway.forwarding import Upstream
from gateway.housekeeping import prune_keys, prune_links, remove_orphans
from gateway.idempotency import Idempotency
from gateway.intake import Limits
from gateway.parts import Parts
from gateway.purging import Purge, Sweep
from gateway.questions import PrepareQuestion
from gateway.raw import MakeRawLink, ReadRaw
from gateway.receipts import ReadDeletion
from gateway.reconciling import Patience, Reconcile
from gateway.reprocess import Reprocess
from gateway.settings import GatewaySettings
from gateway.streaming import Stream
from gateway.subscribers import subscriptions
from gateway.upload import Upload

ROUTERS = (  # what is asked often comes first: a request is held against every route before its own
    question_routes.router,
    document_routes.router,
    document_routes.open_router,
    account_routes.open_router,
    account_routes.router,
    account_routes.well_known,
    reference.router,
)


def create_app(settings: GatewaySettings) -> FastAPI:
    """The service. Its database must be migrated; broker and the services behind may be away."""
    engine = create_engine(settings)
    sessions = create_sessions(engine)
    reads = reads_of(sessions)
    store = open_store(settings)
    outbox = Outbox(settings.service)
    http = HttpClient(settings.auth_url, settings.qa_url, settings.ingest_url, silence=settings.upstream_seconds)
    delivery = _delivery(settings, engine, sessions=sessions, store=store, outbox=outbox)
    transactions = delivery.transactions
    changes = Changes(transactions=transactions, listener=delivery.listener)
    counting = Counting(sessions=sessions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        try:
            async with delivery.running(), _running(changes.run(), counting.run()):
                yield
        finally:
            await http.close()
            await transactions.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=ROUTERS,
        lifespan=lifespan,
        # Not Kafka and not the services behind: an upload is taken while they are away.
        readiness={"database": check_of(engine), "object_store": store.check},
        liveness=delivery.liveness,
        errors=ERRORS,
        title="docqa",
        openapi_url=reference.OPENAPI,
        generate_unique_id_function=reference.operation_id,
        unbounded=[document_routes.UPLOAD],
        cors_origins=settings.cors_origins,
    )
    app.openapi = reference.describe(app)  # type: ignore[method-assign]
    reference.serve_assets(app)
    app.state.parts = _parts(
        settings,
        app,
        transactions,
        sessions=sessions,
        reads=reads,
        store=store,
        outbox=outbox,
        http=http,
        changes=changes,
    )
    verifier = TokenVerifier(RemoteKeys(http, settings.auth_url))
    exchange = KeyExchange(http=http, auth_url=settings.auth_url, verifier=verifier)
    app.state.callers = Callers(verifier=verifier, keys=exchange, transactions=transactions)
    return app


def _parts(
    settings: GatewaySettings,
    app: FastAPI,
    transactions: Transactions,
    *,
    sessions: Sessions,
    reads: Sessions,
    store: ObjectStore,
    outbox: Outbox,
    http: HttpClient,
    changes: Changes,
) -> Parts:
    return Parts(
        settings=settings,
        reads=reads,
        upload=Upload(
            transactions=transactions,
            sessions=sessions,
            store=store,
            outbox=outbox,
            idempotency=Idempotency(sessions=sessions, remembered=timedelta(seconds=settings.idempotency_seconds)),
            limits=Limits(max_file_bytes=settings.max_file_bytes, max_files=settings.max_files),
        ),
        reprocess=Reprocess(sessions=sessions, outbox=outbox),
        delete=Delete(sessions=sessions, outbox=outbox),
        read_raw=ReadRaw(reads=reads, store=store),
        make_raw_link=MakeRawLink(sessions=sessions, life=timedelta(seconds=settings.raw_link_seconds)),
        read_deletion=ReadDeletion(reads=reads),
        stream=Stream(
            transactions=transactions,
            changes=changes,
            heartbeat=settings.heartbeat_seconds,
            stopping=lambda: app.state.stopping,
        ),
        close_account=CloseAccount(sessions=sessions),
        prepare_question=PrepareQuestion(transactions=transactions),
        auth=Upstream("auth", http=http, url=settings.auth_url),
        ingest=Upstream("ingest", http=http, url=settings.ingest_url),
        qa=Upstream("qa", http=http, url=settings.qa_url),
    )


def _delivery(
    settings: GatewaySettings, engine: AsyncEngine, *, sessions: Sessions, store: ObjectStore, outbox: Outbox
) -> Delivery:
    reconcile = Reconcile(sessions=sessions, outbox=outbox, patience=_patience(settings))
    sweeps = [timedelta(seconds=seconds) for seconds in settings.sweep_seconds]
    return Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=subscriptions(outbox),
        works=[
            Purge(sessions=sessions, store=store, outbox=outbox, sweeps=sweeps),
            Sweep(store=store, outbox=outbox),
            Closure(sessions=sessions, outbox=outbox),
            Farewell(store=store, outbox=outbox),
        ],
        chores=chores(settings, store=store, reconcile=reconcile),
        on_wiped=reconcile.at_once,
    )


def chores(settings: GatewaySettings, *, store: ObjectStore, reconcile: Reconcile) -> list[Chore]:
    """What the gateway does now and then."""
    remembered = timedelta(seconds=settings.idempotency_seconds)
    orphaned = timedelta(seconds=settings.orphan_seconds)
    return [
        Chore(name="reconcile", every=timedelta(seconds=10), run=reconcile),
        Chore(name="prune_keys", every=timedelta(minutes=15), run=partial(prune_keys, remembered=remembered)),
        Chore(name="prune_links", every=timedelta(minutes=15), run=prune_links),
        Chore(
            name="remove_orphans",
            every=timedelta(hours=1),
            run=partial(remove_orphans, store=store, older_than=orphaned),
        ),
    ]


def _patience(settings: GatewaySettings) -> Patience:
    return Patience(
        first=timedelta(seconds=settings.reconcile_after_seconds),
        ceiling=timedelta(seconds=settings.reconcile_ceiling_seconds),
        alert_rounds=settings.reconcile_alert_rounds,
        batch=settings.reconcile_batch,
    )


@asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    settings = load(GatewaySettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
