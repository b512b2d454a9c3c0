"""Accounts over HTTP: auth answers, and a deleted account is out before its holder hears of it."""

from uuid import UUID

from chassis.problems import unavailable
from contracts.accounts import (
    AccountDeletion,
    ApiKeys,
    CreateKeyRequest,
    DeleteAccountRequest,
    LoginRequest,
    LogoutRequest,
    NewApiKey,
    RefreshRequest,
    SignupRequest,
    Tokens,
    User,
)
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from gateway.callers import SECURITY, CallerDep, callers_of
from gateway.describing import JWKS, PASSWORD_FORM, forwarded, json_body, problems
from gateway.forwarding import body_of, onward
from gateway.parts import PartsDep

open_router = APIRouter(prefix="/api/auth", tags=["Accounts"], responses=problems(413, 422, 503))
router = APIRouter(prefix="/api/auth", tags=["Accounts"], dependencies=SECURITY, responses=problems(401, 413, 422, 503))
well_known = APIRouter(tags=["Accounts"], responses=problems(503))


# From the last to the first: so decorators are applied, and so the reference shows them.
@open_router.post(
    "/logout",
    operation_id="log_out",
    openapi_extra=json_body(LogoutRequest),
    summary="Log out",
    **forwarded(None, status=204),
)
@open_router.post(
    "/refresh",
    operation_id="refresh",
    openapi_extra=json_body(RefreshRequest),
    summary="Refresh",
    **forwarded(Tokens, 401),
)
@open_router.post(
    "/token",
    operation_id="log_in_by_form",
    openapi_extra=PASSWORD_FORM,
    summary="Log in by form",
    **forwarded(Tokens, 401, 429),
)
@open_router.post(
    "/login",
    operation_id="log_in",
    openapi_extra=json_body(LoginRequest),
    summary="Log in",
    **forwarded(Tokens, 401, 429),
)
@open_router.post(
    "/signup",
    operation_id="sign_up",
    openapi_extra=json_body(SignupRequest),
    summary="Sign up",
    **forwarded(Tokens, 409, status=201),
)
async def without_login(request: Request, parts: PartsDep) -> Response:
    """Answered by auth."""
    return await parts.auth(onward(request, body=await body_of(request)))


@router.get("/keys", operation_id="list_keys", summary="List API keys", **forwarded(ApiKeys))
@router.post(
    "/keys",
    operation_id="make_key",
    openapi_extra=json_body(CreateKeyRequest),
    summary="Make an API key",
    **forwarded(NewApiKey, 429, status=201),
)
@router.get("/me", operation_id="show_account", summary="Show the account", **forwarded(User))
async def with_login(request: Request, caller: CallerDep, parts: PartsDep) -> Response:
    """Answered by auth."""
    return await parts.auth(onward(request, caller=caller, body=await body_of(request)))


@router.delete("/keys/{key_id}", summary="Delete an API key", **forwarded(None, 404, status=204))
async def delete_key(request: Request, key_id: UUID, caller: CallerDep, parts: PartsDep) -> Response:
    """Where several gateways answer, it works for at most a minute more."""
    del key_id  # auth reads it
    answer = await parts.auth(onward(request, caller=caller))
    callers_of(request).forget_keys(caller.user_id)
    return answer


@router.delete(
    "/me",
    operation_id="delete_account",
    openapi_extra=json_body(DeleteAccountRequest),
    summary="Delete the account",
    **forwarded(AccountDeletion, 429, status=202),
)
@router.post(
    "/me/delete",
    operation_id="delete_account_by_post",
    openapi_extra=json_body(DeleteAccountRequest),
    summary="Delete the account, for clients that cannot send a body with DELETE",
    **forwarded(AccountDeletion, 429, status=202),
)
async def delete_account(request: Request, caller: CallerDep, parts: PartsDep) -> Response:
    """Out at once, everything erased; the receipt can be read without a login."""
    answer = await parts.auth(onward(request, caller=caller, body=await body_of(request)))
    if answer.status_code == 202:
        try:
            deletion = AccountDeletion.model_validate_json(bytes(answer.body)).deletion_id
        except ValidationError:
            raise unavailable() from None
        await parts.close_account(caller.user_id, deletion)
    return answer


@well_known.get(
    "/.well-known/jwks.json",
    operation_id="show_public_keys",
    summary="Public keys of access tokens",
    response_class=Response,
    responses=JWKS,
)
async def jwks(request: Request, parts: PartsDep) -> Response:
    """Other services verify tokens with them."""
    return await parts.auth(onward(request))
