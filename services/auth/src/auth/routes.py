"""Auth over HTTP."""

from typing import Annotated
from uuid import UUID

from chassis.identity import CallerDep
from chassis.problems import ErrorEntry
from contracts.accounts import (
    AccountDeletion,
    ApiKey,
    DeleteAccountRequest,
    LogoutRequest,
    NewApiKey,
    RefreshRequest,
    Tokens,
    User,
)
from contracts.accounts import ApiKeys as ApiKeyList
from contracts.internal import ExchangedToken, ExchangeKeyRequest
from fastapi import APIRouter, Depends, Form, Request, Response

from auth.accounts import Accounts
from auth.errors import (
    AccountGone,
    ApiKeyNotFound,
    BadCredentials,
    EmailTaken,
    InvalidApiKey,
    InvalidRefreshToken,
    TooManyFailures,
    TooManyKeys,
)
from auth.issuing import TokenPair
from auth.passwords import HashingBusy
from auth.repository import Person, user_by_id
from auth.requests import CreateKey, Login, PasswordForm, Signup
from auth.signing import Jwks
from auth.tables import ApiKeyRow

ERRORS: dict[type[Exception], ErrorEntry] = {
    EmailTaken: ErrorEntry(409, "auth.email_taken", "E-mail address taken"),
    BadCredentials: ErrorEntry(401, "auth.bad_credentials", "Wrong credentials"),
    TooManyFailures: ErrorEntry(429, "rate.login_failures", "Too many failed logins"),
    InvalidRefreshToken: ErrorEntry(401, "auth.token_invalid", "Not logged in"),
    InvalidApiKey: ErrorEntry(401, "auth.token_invalid", "Not logged in"),
    AccountGone: ErrorEntry(401, "auth.token_invalid", "Not logged in"),
    ApiKeyNotFound: ErrorEntry(404, "auth.key_not_found", "Not found"),
    TooManyKeys: ErrorEntry(429, "quota.api_keys", "Too many API keys"),
    HashingBusy: ErrorEntry(503, "service.unavailable", "Service unavailable"),
}


def _never_stored(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, section 5.1


def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


AccountsDep = Annotated[Accounts, Depends(_accounts)]

public = APIRouter(prefix="/api/auth", dependencies=[Depends(_never_stored)])
internal = APIRouter(prefix="/internal", dependencies=[Depends(_never_stored)])
well_known = APIRouter(prefix="/.well-known")


@public.post("/signup", status_code=201)
async def sign_up(body: Signup, accounts: AccountsDep) -> Tokens:
    return _tokens(await accounts.sign_up(body.email, body.password.get_secret_value(), body.name))


@public.post("/login")
async def log_in(body: Login, accounts: AccountsDep) -> Tokens:
    return _tokens(await accounts.log_in(body.email, body.password.get_secret_value()))


@public.post("/token")
async def log_in_by_form(form: Annotated[PasswordForm, Form()], accounts: AccountsDep) -> Tokens:
    return _tokens(await accounts.log_in(form.username, form.password.get_secret_value()))


@public.post("/refresh")
async def refresh(body: RefreshRequest, accounts: AccountsDep) -> Tokens:
    return _tokens(await accounts.refresh(body.refresh_token.get_secret_value()))


@public.post("/logout", status_code=204)
async def log_out(body: LogoutRequest, accounts: AccountsDep) -> None:
    await accounts.log_out(body.refresh_token.get_secret_value())


@public.get("/me")
async def me(caller: CallerDep, accounts: AccountsDep) -> User:
    async with accounts.sessions() as session:
        return _user(Person.of(await user_by_id(session, caller.user_id)))


@public.delete("/me", status_code=202)
@public.post("/me/delete", status_code=202)
async def close_account(body: DeleteAccountRequest, caller: CallerDep, accounts: AccountsDep) -> AccountDeletion:
    deletion_id = await accounts.close(caller.user_id, body.password.get_secret_value())
    return AccountDeletion(deletion_id=deletion_id)


@public.post("/keys", status_code=201)
async def make_key(body: CreateKey, caller: CallerDep, accounts: AccountsDep) -> NewApiKey:
    made = await accounts.api_keys.make(caller.user_id, name=body.name, expires_at=body.expires_at)
    return NewApiKey(key=made.secret, **_api_key(made.row).model_dump())


@public.get("/keys")
async def list_keys(caller: CallerDep, accounts: AccountsDep) -> ApiKeyList:
    return ApiKeyList(items=[_api_key(row) for row in await accounts.api_keys.of(caller.user_id)])


@public.delete("/keys/{key_id}", status_code=204)
async def delete_key(key_id: UUID, caller: CallerDep, accounts: AccountsDep) -> None:
    await accounts.api_keys.delete(caller.user_id, key_id)


@internal.post("/keys/exchange")
async def exchange_key(body: ExchangeKeyRequest, accounts: AccountsDep) -> ExchangedToken:
    token = await accounts.exchange_key(body.key.get_secret_value())
    return ExchangedToken(access_token=token.text, expires_in=token.expires_in)


@well_known.get("/jwks.json")
async def jwks(accounts: AccountsDep, response: Response) -> Jwks:
    response.headers["Cache-Control"] = "public, max-age=300"
    return (await accounts.ring.keys()).jwks()


def _user(person: Person) -> User:
    return User(id=person.id, email=person.email, name=person.name, created_at=person.created_at)


def _tokens(pair: TokenPair) -> Tokens:
    return Tokens(
        user=_user(pair.person),
        access_token=pair.access.text,
        refresh_token=pair.refresh_token,
        expires_in=pair.access.expires_in,
    )


def _api_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
