"""What `/openapi.json` says an answer looks like, held against the answers that really come."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from chassis.web import EXPOSED
from jsonschema import Draft202012Validator, FormatChecker

PROBLEM = "application/problem+json"

SHORTEST_SECRET = 16

FIELDS = {"field": "", "code": "", "detail": ""}

ANYWHERE = frozenset(
    {"request.malformed", "request.headers_too_large", "request.too_large", "request.too_slow"}
    | {"route.not_found", "route.method_not_allowed", "cors.refused"}
)
"""Problems that any address may answer with, before a route is found or asked."""


@dataclass(frozen=True)
class Description:
    """The description of one running docqa."""

    openapi: Mapping[str, Any]

    @classmethod
    @functools.cache
    def of(cls, url: str) -> "Description":
        return cls(httpx.get(f"{url}/openapi.json", timeout=30).raise_for_status().json())

    def mistakes(self, answer: httpx.Response) -> list[str]:
        """How the answer differs from what is declared for its route and status, and from what holds everywhere."""
        mistakes = [*_of_headers(answer), *self._of_headers(answer)]
        if answer.request.method == "HEAD":
            return [*mistakes, *(["a body"] if answer.content else [])]
        return [*mistakes, *(_of_problem(answer) if answer.status_code >= 400 else []), *self._of_body(answer)]

    def declared(self, method: str, path: str) -> Mapping[str, Any] | None:
        """The operation behind a path; the longest template is the most particular one. HEAD is answered as GET is."""
        fitting = [template for template in self.openapi["paths"] if _fits(template, path)]
        most_particular = min(fitting, key=lambda template: template.count("{"), default=None)
        operations = {} if most_particular is None else self.openapi["paths"][most_particular]
        operation: Mapping[str, Any] | None = operations.get("get" if method == "HEAD" else method.lower())
        return operation

    def undeclared(self, answer: httpx.Response) -> str | None:
        """A status that the route does not declare."""
        operation = self.declared(answer.request.method, answer.request.url.path)
        if operation is None or str(answer.status_code) in operation["responses"]:
            return None
        if answer.request.method != "HEAD" and answer.status_code >= 400 and answer.json().get("code") in ANYWHERE:
            return None
        return f"{answer.status_code} is not declared"

    def _of_headers(self, answer: httpx.Response) -> list[str]:
        """Headers that are declared as always there and are not, and those that clients act on and nobody declared."""
        if (declared := self._declared_answer(answer)) is None:
            return []
        headers = {name: self._resolved(header) for name, header in declared["headers"].items()}
        missing = [name for name, header in headers.items() if header["required"] and name not in answer.headers]
        undeclared = [name for name in (*EXPOSED, "Location") if name in answer.headers and name not in headers]
        return [*(f"no {name}" for name in missing), *(f"{name} is not declared" for name in undeclared)]

    def _of_body(self, answer: httpx.Response) -> list[str]:
        if (declared := self._declared_answer(answer)) is None:
            return []
        content, kind = declared.get("content", {}), answer.headers.get("content-type", "").partition(";")[0]
        if kind not in (content or {""}):
            return [f"{answer.status_code} declares no {kind or 'empty body'}"]
        return self._against(content[kind]["schema"], answer.json()) if kind.endswith("json") else []

    def _declared_answer(self, answer: httpx.Response) -> Mapping[str, Any] | None:
        operation = self.declared(answer.request.method, answer.request.url.path)
        declared: Mapping[str, Any] | None = (operation or {"responses": {}})["responses"].get(str(answer.status_code))
        return declared

    def _resolved(self, header: Mapping[str, Any]) -> Mapping[str, Any]:
        name = header.get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = self.openapi["components"]["headers"][name] if name else header
        return found

    def _against(self, schema: Mapping[str, Any], body: object) -> list[str]:
        whole = {**schema, "components": self.openapi["components"]}
        errors = Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(body)
        return [f"{error.json_path}: {error.message}" for error in errors]


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) is not None


def _of_headers(answer: httpx.Response) -> list[str]:
    wanted = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After"], 503: ["Retry-After"]}
    names = ["X-Request-ID", *wanted.get(answer.status_code, [])]
    return [f"{answer.status_code} without {name}" for name in names if name not in answer.headers]


def _of_problem(answer: httpx.Response) -> list[str]:
    """RFC 9457, and nothing of the request's own secrets."""
    if answer.headers.get("content-type") != PROBLEM:
        return [f"{answer.status_code} as {answer.headers.get('content-type')}: {answer.text[:200]}"]
    problem = answer.json()
    mistakes = [f"no {name}" for name in ("type", "title", "status", "detail", "code") if not problem.get(name)]
    if problem.get("status") != answer.status_code:
        mistakes.append("another status within")
    if problem.get("request_id") != answer.headers.get("X-Request-ID"):
        mistakes.append("another request_id within")
    errors = problem.get("errors", []) if answer.status_code == 422 else [FIELDS]
    if not errors or any(set(error) != set(FIELDS) for error in errors):
        mistakes.append(f"422 whose errors are {problem.get('errors')}")
    token = answer.request.headers.get("authorization", "").rpartition(" ")[2]
    if len(token) > SHORTEST_SECRET and token in answer.text:
        mistakes.append("repeats the token")
    return mistakes
