"""docs/errors.md tells every code that leaves the system, and none that does not."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

ROW = re.compile(r"^\| `(?P<code>[a-z_]+\.[a-z_]+)` \| (?P<where>[^|]+) \| [^|]+ \|$", re.MULTILINE)

CODE = re.compile(r"[a-z]+\.[a-z_]+")

CODE_AT = {
    "ErrorEntry": 1,
    "ProblemError": 1,
    "invalid": 1,
    "FieldError": 1,
    "RejectedFile": 1,
    "Failure": 0,
    "Transient": 0,
    "Permanent": 0,
    "Misconfigured": 0,
    "Poison": 0,
    "CrashLoop": 0,
}
"""Where in the arguments of what the code stands."""


def documented() -> dict[str, str]:
    """Where each code of the page appears."""
    return {row["code"]: row["where"] for row in ROW.finditer((ROOT / "docs" / "errors.md").read_text("utf-8"))}


def named() -> set[str]:
    """Everything that the page names, the rules of fields in its introduction among it."""
    return set(re.findall(r"`([a-z_.]+)`", (ROOT / "docs" / "errors.md").read_text("utf-8")))


def sources() -> list[Path]:
    return sorted(
        path
        for part in ("libs", "services")
        for path in (ROOT / part).glob("*/src/**/*.py")
        if "migrations" not in path.parts
    )


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every piece of our code, and where it stands."""
    return [
        (f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]


def given_code(call: ast.Call) -> str | None:
    """The code that a call of `CODE_AT` is given, if it is written out there."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in CODE_AT:
        return None
    by_name = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    by_place = call.args[CODE_AT[name]] if len(call.args) > CODE_AT[name] else None
    given = by_name or by_place
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None


def given_status(call: ast.Call) -> int | None:
    """The HTTP status beside that code, if it is written out there."""
    status = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return status if isinstance(status, int) else None


def test_the_page_has_each_code_once() -> None:
    codes = [row["code"] for row in ROW.finditer((ROOT / "docs" / "errors.md").read_text("utf-8"))]

    assert codes
    assert sorted(codes) == sorted(set(codes))


def test_every_code_that_is_raised_stands_on_the_page() -> None:
    raised = {
        code: where for where, node in nodes() if isinstance(node, ast.Call) and (code := given_code(node)) is not None
    }

    assert raised
    assert {code: where for code, where in raised.items() if code not in named()} == {}


def test_every_word_that_looks_like_one_of_our_codes_stands_on_the_page_and_the_other_way_round() -> None:
    """Catches codes in constants and enumerations, which no call shows."""
    pages = documented()
    families = {code.partition(".")[0] for code in pages}
    written = {
        node.value: where
        for where, node in nodes()
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
        and node.value.partition(".")[0] in families
        and not node.value.endswith((".json", ".name", ".safetensors"))
    }

    assert {code: where for code, where in written.items() if code not in pages} == {}
    assert set(pages) - set(written) == set()


def test_the_page_tells_the_status_of_each_code() -> None:
    pages = documented()
    wrong = [
        f"{where}: {code} is {status}, the page says {pages.get(code)}"
        for where, node in nodes()
        if isinstance(node, ast.Call)
        and (code := given_code(node)) is not None
        and (status := given_status(node)) is not None
        and str(status) not in pages.get(code, "")
    ]

    assert wrong == []
