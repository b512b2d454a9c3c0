"""Whatever is sent, the answer is one that was promised."""

import json
import string
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROUTES = [
    ("POST", "/api/auth/signup", ("email", "password", "name")),
    ("POST", "/api/auth/login", ("email", "password")),
    ("POST", "/api/auth/refresh", ("refresh_token",)),
    ("POST", "/api/auth/logout", ("refresh_token",)),
    ("POST", "/api/auth/me/delete", ("password",)),
    ("DELETE", "/api/auth/me", ("password",)),
    ("POST", "/api/auth/keys", ("name", "expires_at")),
    ("POST", "/internal/keys/exchange", ("key",)),
]

TEXTS = st.text(max_size=40) | st.sampled_from(
    [
        "ada@example.org",
        "twelve chars",
        "\ud800",
        "\x00",
        "2999-01-01T00:00:00Z",
        "NaN",
        "1e400",
        "{{7*7}}",
        "' OR 1=1 --",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.printable, max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def requests() -> st.SearchStrategy[tuple[str, str, Any]]:
    """A method, a path, and a body that may almost fit."""
    return st.sampled_from(ROUTES).flatmap(
        lambda route: st.tuples(
            st.just(route[0]),
            st.just(route[1]),
            st.fixed_dictionaries({}, optional=dict.fromkeys((*route[2], "is_admin"), VALUES)) | VALUES,
        )
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=requests())
async def test_any_input_gets_a_clear_answer(auth: httpx.AsyncClient, ada, sent: tuple[str, str, Any]) -> None:
    method, path, body = sent

    answer = await auth.request(
        method, path, content=json.dumps(body), headers={**ada.headers, "Content-Type": "application/json"}
    )

    assert answer.status_code < 500
    assert answer.status_code < 400 or answer.headers["content-type"] == "application/problem+json"
    assert "x-request-id" in answer.headers
