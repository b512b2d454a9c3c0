"""Health and metrics, as probes and Prometheus see them."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from chassis import health
from chassis.settings import ServiceSettings
from chassis.web import create_app
from fastapi import APIRouter
from prometheus_client import REGISTRY

ClientOf = Callable[..., httpx.AsyncClient]

router = APIRouter()


@router.get("/measured/{number}")
async def measured(number: int) -> int:
    return number


async def fine() -> None:
    return None


async def broken() -> str | None:
    return "the bucket is gone"


async def test_a_healthy_service_is_live_and_ready(settings: ServiceSettings, client_of: ClientOf) -> None:
    client = client_of(create_app(settings, readiness={"database": fine}, liveness={"progress": fine}))

    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json() == {"status": "ok"}


async def test_readiness_names_what_is_missing_and_liveness_does_not_care(
    settings: ServiceSettings, client_of: ClientOf
) -> None:
    client = client_of(create_app(settings, readiness={"database": fine, "store": broken}))

    answer = await client.get("/health/ready")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
    assert answer.json()["missing"] == {"store": "the bucket is gone"}
    assert answer.json()["code"] == "service.not_ready"
    assert (await client.get("/health/live")).status_code == 200


async def test_a_check_that_hangs_or_breaks_is_an_answer(
    settings: ServiceSettings, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)

    async def hanging() -> str | None:
        await asyncio.Event().wait()
        return None

    async def crashing() -> str | None:
        raise ConnectionError("password is hunter2")

    client = client_of(create_app(settings, readiness={"one": hanging, "two": crashing}))

    missing = (await client.get("/health/ready")).json()["missing"]

    assert missing == {"one": "no answer within 0.05 s", "two": "ConnectionError"}


async def test_a_stopping_service_is_not_ready_and_still_live(settings: ServiceSettings, client_of: ClientOf) -> None:
    app = create_app(settings)
    app.state.stopping.set()
    client = client_of(app)

    assert (await client.get("/health/ready")).json()["missing"] == {"process": "is stopping"}
    assert (await client.get("/health/live")).status_code == 200


async def test_checks_may_be_added_while_the_service_starts(settings: ServiceSettings, client_of: ClientOf) -> None:
    readiness: dict[str, health.Check] = {}
    client = client_of(create_app(settings, readiness=readiness))
    readiness["late"] = broken

    assert (await client.get("/health/ready")).status_code == 503


def counted(**labels: str) -> float:
    return REGISTRY.get_sample_value("docqa_http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_route_and_never_by_path(settings: ServiceSettings, client_of: ClientOf) -> None:
    nested = APIRouter(prefix="/nested")
    nested.include_router(router, prefix="/deeply")
    client = client_of(create_app(settings, routers=[router, nested]))
    before = counted(method="GET", route="/measured/{number}", status="200")

    await client.get("/measured/1")
    await client.get("/measured/2")
    await client.get("/nested/deeply/measured/2")
    await client.get("/no-such/secret-path")
    await client.request("BREW", "/measured/2")
    text = (await client.get("/metrics")).text

    assert counted(method="GET", route="/measured/{number}", status="200") == before + 2
    assert "secret-path" not in text
    assert 'route="(none)",status="404"' in text
    assert 'method="OTHER"' in text
    assert 'route="/nested/deeply/measured/{number}"' in text
