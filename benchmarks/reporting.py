"""The table: on a terminal, as JSON, and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.figures import Figure, Of
from benchmarks.machine import Machine
from benchmarks.series import Series

HEADINGS = ("#", "what", "docqa", "bare loop", "ratio", "goal", "")


def show(figures: Sequence[Figure], console: Console) -> None:
    """One table, a line a figure."""
    table = Table(*HEADINGS)
    for figure in figures:
        colour = {True: "green", False: "red", None: "default"}[figure.reached]
        words = _cells(figure)
        table.add_row(*map(escape, words[:-1]), f"[{colour}]{words[-1]}[/]")
        if figure.note:
            table.add_row("", f"[dim]{escape(figure.note)}[/]")
    console.print(table)


def as_markdown(figures: Sequence[Figure]) -> str:
    """The same for a document."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    for figure in figures:
        number, what, *rest = _cells(figure)
        lines.append(f"| {' | '.join([number, what + (f' ({figure.note})' if figure.note else ''), *rest])} |")
    return "\n".join(lines)


def save(figures: Sequence[Figure], machine: Machine, target: Path) -> None:
    """Everything that was measured, each repetition of it."""
    told = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(machine),
        "figures": [
            {**asdict(figure), "ratio": figure.ratio, "judged": figure.judged, "reached": figure.reached}
            for figure in figures
        ],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def _cells(figure: Figure) -> list[str]:
    return [
        str(figure.row or "load"),
        figure.what,
        f"{_range(figure.ours)} {figure.unit}",
        f"{_range(figure.bare)} {figure.unit}" if figure.bare else "",
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        _goal(figure),
        {True: "reached", False: "missed", None: ""}[figure.reached],
    ]


def _range(measured: Series) -> str:
    """The median, and from where to where it went."""
    if len(measured.values) == 1:
        return _number(measured.median)
    return f"{_number(measured.median)} ({_number(measured.low)}–{_number(measured.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _goal(figure: Figure) -> str:
    goal = figure.goal
    if goal is None:
        return ""
    sign = "≤" if goal.at_most else "≥"
    match goal.of:
        case Of.RATIO:
            return f"{sign} {goal.limit:g} ×"
        case Of.VALUE:
            return f"{sign} {goal.limit:g} {figure.unit}"
        case Of.DIFFERENCE:
            return f"{sign} {goal.limit:g} {figure.unit} above" + (
                f" (is {_number(figure.judged)})" if figure.judged is not None else ""
            )
