"""Auth, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from chassis import logs
from chassis.database import Sessions, check_of, create_engine, create_sessions
from chassis.identity import TokenVerifier
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

from auth.accounts import Accounts
from auth.api_keys import ApiKeys, ExchangeKey
from auth.closing import CloseAccount, hurry, say_again
from auth.issuing import Issuer
from auth.logging_in import LogIn
from auth.logging_out import LogOut
from auth.passwords import Passwords
from auth.proving import Prove
from auth.pruning import prune_login_failures, prune_refresh_tokens
from auth.refreshing import Refresh
from auth.routes import ERRORS, internal, public, well_known
from auth.settings import AuthSettings
from auth.signing import KeyRing, rotate
from auth.signing_up import SignUp
from auth.subscribers import subscriptions
from auth.throttling import Throttle


def create_app(settings: AuthSettings) -> FastAPI:
    """The service. Its database must be migrated; the broker may be away."""
    engine = create_engine(settings)
    sessions = create_sessions(engine)
    outbox = Outbox(settings.service)
    passwords = Passwords(threads=settings.password_threads, waiting=settings.password_queue)
    accounts = _accounts(
        settings, sessions, transactions=Transactions(engine, sessions), passwords=passwords, outbox=outbox
    )
    delivery = _delivery(settings, engine, sessions=sessions, outbox=outbox)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await refuse_wrong_schema(engine, settings.service)
        await accounts.ring.keys()
        try:
            async with delivery.running():
                yield
        finally:
            passwords.close()
            await accounts.transactions.close()
            await engine.dispose()

    app = create_web_app(
        settings,
        routers=[public, internal, well_known],
        lifespan=lifespan,
        # Not Kafka: people log in while it is away.
        readiness={"database": check_of(engine)},
        liveness=delivery.liveness,
        errors=ERRORS,
    )
    app.state.accounts = accounts
    app.state.verifier = TokenVerifier(accounts.ring)
    return app


def _accounts(
    settings: AuthSettings,
    sessions: Sessions,
    *,
    transactions: Transactions,
    passwords: Passwords,
    outbox: Outbox,
) -> Accounts:
    ring = KeyRing(sessions)
    issuer = Issuer(
        ring,
        access_seconds=settings.access_token_seconds,
        refresh_life=timedelta(seconds=settings.refresh_token_seconds),
    )
    throttle = Throttle(settings.login_failures, timedelta(seconds=settings.login_failures_window_seconds))
    prove = Prove(transactions, passwords=passwords, throttle=throttle)
    return Accounts(
        sessions=sessions,
        transactions=transactions,
        ring=ring,
        sign_up=SignUp(sessions, passwords=passwords, issuer=issuer),
        log_in=LogIn(transactions, prove=prove, issuer=issuer),
        refresh=Refresh(sessions, issuer),
        log_out=LogOut(sessions),
        close=CloseAccount(sessions, prove=prove, outbox=outbox),
        api_keys=ApiKeys(sessions, most=settings.max_api_keys),
        exchange_key=ExchangeKey(sessions, ring=ring, seconds=settings.exchanged_token_seconds),
    )


def _delivery(settings: AuthSettings, engine: AsyncEngine, *, sessions: Sessions, outbox: Outbox) -> Delivery:
    return Delivery(
        settings.service,
        settings,
        engine,
        sessions=sessions,
        subscriptions=subscriptions(),
        chores=chores(settings, outbox),
        on_wiped=partial(hurry, sessions),
    )


def chores(settings: AuthSettings, outbox: Outbox) -> list[Chore]:
    """What auth does now and then."""
    longest_token = timedelta(seconds=max(settings.access_token_seconds, settings.exchanged_token_seconds))
    failures_count_for = timedelta(seconds=settings.login_failures_window_seconds)
    signs_for = timedelta(seconds=settings.signing_key_seconds)
    return [
        Chore(
            name="say_deletions_again",
            every=timedelta(seconds=15),
            run=partial(say_again, outbox=outbox),
        ),
        Chore(
            name="rotate_signing_keys",
            every=timedelta(minutes=10),
            run=partial(rotate, signs_for=signs_for, longest_token=longest_token),
        ),
        Chore(name="prune_refresh_tokens", every=timedelta(hours=1), run=prune_refresh_tokens),
        Chore(
            name="prune_login_failures",
            every=timedelta(minutes=15),
            run=partial(prune_login_failures, older_than=failures_count_for),
        ),
    ]


def main() -> None:
    settings = load(AuthSettings)
    logs.configure(settings.service, settings.log_level)
    serve(create_app(settings), settings)


if __name__ == "__main__":
    main()
