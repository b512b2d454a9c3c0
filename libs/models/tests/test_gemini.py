"""The way to Google: directly, or by the proxy that the environment names."""

from typing import Any

import httpx
import pytest
from models.gemini import _transport
from models.settings import ModelSettings


@pytest.mark.parametrize(
    ("environment", "server", "by"),
    [
        ({}, None, None),
        ({"https_proxy": "http://proxy.example:3128"}, None, "http://proxy.example:3128"),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": "googleapis.com"}, None, None),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": "models.example"}, "https://models.example", None),
        ({"https_proxy": "http://proxy.example:3128"}, "http://models.example", None),
    ],
)
def test_the_proxy_of_the_environment_is_used_but_where_it_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], server: str | None, by: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    used: list[Any] = []
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda *, proxy: used.append(proxy))
    settings = ModelSettings(embedding_model="google_genai:gemini-embedding-001", google_base_url=server)

    _transport(settings)

    assert used == [by]
