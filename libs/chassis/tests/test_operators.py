"""Routes for operators: nobody is one by default, and one who is must show it."""

from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest
from chassis.operators import OperatorRefused, require_operator
from chassis.problems import ErrorEntry
from chassis.settings import OperatorSettings, ServiceSettings
from chassis.web import create_app
from fastapi import APIRouter, Depends
from pydantic import SecretStr

SECRET = "0123456789abcdef0123456789abcdef"

router = APIRouter(prefix="/internal", dependencies=[Depends(require_operator)])


@router.post("/rebuild")
async def rebuild() -> str:
    return "begun"


class Operated(OperatorSettings, ServiceSettings):
    service: ClassVar[str] = "some"


@pytest.fixture
def client_with(client_of: Callable[..., httpx.AsyncClient], settings: ServiceSettings) -> Callable[..., Any]:
    def make(**given: Any) -> httpx.AsyncClient:
        operated = Operated(**{**settings.model_dump(), **given})
        errors: dict[type[Exception], ErrorEntry] = {
            OperatorRefused: ErrorEntry(403, "operator.refused", "Not allowed")
        }
        return client_of(create_app(operated, routers=[router], errors=errors))

    return make


async def test_the_operator_is_let_in(client_with: Callable[..., httpx.AsyncClient]) -> None:
    client = client_with(operator_token=SecretStr(SECRET))

    answer = await client.post("/internal/rebuild", headers={"Authorization": f"Bearer {SECRET}"})

    assert answer.json() == "begun"


@pytest.mark.parametrize("said", [None, "", "Bearer", f"Bearer {SECRET}x", f"Basic {SECRET}", "Bearer é"])
async def test_nobody_else_is(client_with: Callable[..., httpx.AsyncClient], said: str | None) -> None:
    client = client_with(operator_token=SecretStr(SECRET))

    answer = await client.post("/internal/rebuild", headers=[] if said is None else [(b"Authorization", said.encode())])

    assert (answer.status_code, answer.json()["code"]) == (403, "operator.refused")
    assert SECRET not in answer.text


async def test_without_a_secret_there_is_no_operator(client_with: Callable[..., httpx.AsyncClient]) -> None:
    for said in ("", "Bearer ", "Bearer None"):
        answer = await client_with().post("/internal/rebuild", headers={"Authorization": said})

        assert answer.status_code == 403
        assert "DOCQA_OPERATOR_TOKEN" in answer.json()["detail"]
