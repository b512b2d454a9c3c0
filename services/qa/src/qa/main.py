"""Qa, put together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from chassis import logs, telemetry
from chassis.database import Sessions, check_of, create_engine, create_sessions
from chassis.http import HttpClient
from chassis.identity import TokenVerifier
from chassis.objects import open_store
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
from messaging.workers import Work
from models.chat import ChatModel, open_chat
from sqlalchemy.ext.asyncio import AsyncEngine
from stages.purging import Purge, Sweep
from stages.stage import Stage

from qa.active_index import ActiveIndexes
from qa.answering import Write
from qa.asking import Ask, Search
from qa.embedding import OpenModel, QuestionModels, open_with
from qa.errors import ERRORS
from qa.full_text import FullText
from qa.holdings import SearchableDocuments
from qa.indexing import ActiveIndexWait, CopyPassages
from qa.keeping import Keep
from qa.reading import Passages
from qa.repository import drop_abandoned_places
from qa.retrieving import Retrieve
from qa.routes import Questions, router
from qa.running import RunningAnswers
from qa.settings import QaSettings
from qa.statements import Statements
from qa.stopping import CHANNEL, Stop, StopWatch
from qa.subscribers import Subscribers
from qa.vectors import ShardedVectors
from qa.workers import CopyEarly, IndexPassages, PurgeUser

# Longer than any answer may take.
ABANDONED = timedelta(hours=2)


Deliver = Callable[[QaSettings, AsyncEngine, Sessions, Transactions], Delivery]


def create_app(
    settings: QaSettings,
    *,
    chat: ChatModel | None = None,
    open_model: OpenModel | None = None,
    deliver: Deliver | None = None,
) -> FastAPI:
    """The service. Its database must be migrated; all else may be away. What is given stands in for what is named."""
    telemetry.configure(settings)
    engine = create_engine(settings)
    sessions = create_sessions(engine)
    transactions = Transactions(engine, sessions)
    statements = Statements(transactions)
    indexes = ActiveIndexes(statements)
    vectors = ShardedVectors(settings.chroma_url, timeout=settings.vectors_timeout)
    models = QuestionModels(open_model or open_with(settings))
    running = RunningAnswers()
    delivery = (deliver or deliver_all)(settings, engine, sessions, transactions)
    watch = StopWatch(sessions, running, delivery.listener.subscribe(CHANNEL))
    http = HttpClient(settings.auth_url, silence=5)
    retrieve = Retrieve(
        indexes=indexes, models=models, vectors=vectors, texts=FullText(statements), passages=Passages(statements)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        embeddings = await models.open(settings.embedding_model)
        speaker = chat or open_chat(settings, embeddings)
        await embeddings.load()
        await speaker.load()
        app.state.questions = questions(statements, sessions, retrieve=retrieve, speaker=speaker, running=running)
        try:
            async with delivery.running(), _watched(app, running, watch, grace=settings.answers_grace):
                yield
        finally:
            await vectors.close()
            await speaker.close()
            await models.close()
            await http.close()
            await statements.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=[router],
        lifespan=lifespan,
        # Not Kafka, nor the object store: questions are answered while they are away.
        readiness={"database": check_of(engine), "chroma": vectors.check, "index": indexes.check},
        liveness=delivery.liveness,
        errors=ERRORS,
    )
    app.state.verifier = TokenVerifier(RemoteKeys(http, settings.auth_url))
    return app


def questions(
    statements: Statements, sessions: Sessions, *, retrieve: Retrieve, speaker: ChatModel, running: RunningAnswers
) -> Questions:
    """Everything that the routes call."""
    search = Search(statements, retrieve)
    keep = Keep(statements)
    return Questions(
        sessions=sessions,
        ask=Ask(statements, search=search, keep=keep, write=Write(keep, speaker), running=running),
        search=search,
        stop=Stop(sessions, running),
    )


def deliver_all(settings: QaSettings, engine: AsyncEngine, sessions: Sessions, transactions: Transactions) -> Delivery:
    """Everything that qa hears, says and does."""
    stage = stage_of(Outbox(settings.service))
    return Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=Subscribers(stage).subscriptions(),
        works=works(settings, sessions, transactions, stage),
        chores=[
            Chore(
                name="drop_abandoned_places",
                every=timedelta(minutes=10),
                run=partial(drop_abandoned_places, older_than=ABANDONED.total_seconds()),
            )
        ],
    )


def stage_of(outbox: Outbox) -> Stage:
    """What qa is on a document's way."""
    return Stage(
        name="qa",
        outbox=outbox,
        holdings=SearchableDocuments(),
        makes=IndexPassages.kind,
        writes_too=(CopyEarly.kind,),
        purge="purge_document",
        sweep="sweep_document",
    )


def works(settings: QaSettings, sessions: Sessions, transactions: Transactions, stage: Stage) -> list[Work]:
    """All that qa works on."""
    copy = CopyPassages(transactions, open_store(settings))
    wait = ActiveIndexWait(transactions)
    return [
        CopyEarly(transactions, copy),
        IndexPassages(transactions, copy=copy, wait=wait, stage=stage, concurrency=settings.indexers),
        Purge(stage, sessions, concurrency=2),
        Sweep(stage, concurrency=1),
        PurgeUser(stage.outbox),
    ]


@asynccontextmanager
async def _watched(app: FastAPI, running: RunningAnswers, watch: StopWatch, *, grace: float) -> AsyncIterator[None]:
    """Answers under way can be stopped from elsewhere, and are all stored before the process ends."""

    async def finish_when_told() -> None:
        await app.state.stopping.wait()
        await running.finish(grace)

    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(finish_when_told())]
    try:
        yield
    finally:
        await running.finish(grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    settings = load(QaSettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
