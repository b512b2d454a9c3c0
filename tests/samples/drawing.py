"""Pages as an office program would make them: headings, paragraphs, tables; the same text gives the same bytes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

MARGIN = 62
COLUMNS = 92  # characters of 10-point Times that fit between the margins
LINE = 13.2


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str

    @property
    def lines(self) -> list[str]:
        return wrap(self.text, COLUMNS)


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first row is the heading, the first column is as wide as its text needs."""

    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Table


def draw(pages: Iterable[Sequence[Block]], *, title: str) -> bytes:
    """A PDF with these pages, each with its title and its number."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True, pageCompression=1)
    canvas.setTitle(title)
    for number, blocks in enumerate(pages, start=1):
        _Page(canvas).draw(blocks)
        canvas.setFont("Times-Roman", 8)
        canvas.drawString(MARGIN, 30, title)
        canvas.drawRightString(A4[0] - MARGIN, 30, str(number))
        canvas.showPage()
    canvas.save()
    return out.getvalue()


class _Page:
    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._y = A4[1] - MARGIN

    def draw(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            match block:
                case Heading(text):
                    self._heading(text)
                case Paragraph():
                    self._paragraph(block.lines)
                case Table(rows):
                    self._table(rows)

    def _heading(self, text: str) -> None:
        self._canvas.setFont("Times-Bold", 13)
        self._canvas.drawString(MARGIN, self._y, text)
        self._y -= LINE * 1.7

    def _paragraph(self, lines: Sequence[str]) -> None:
        self._canvas.setFont("Times-Roman", 10)
        for line in lines:
            self._canvas.drawString(MARGIN, self._y, line)
            self._y -= LINE
        self._y -= LINE * 0.6

    def _table(self, rows: Sequence[Sequence[str]]) -> None:
        right = A4[0] - MARGIN
        for index, (label, *cells) in enumerate(rows):
            self._canvas.setFont("Times-Roman" if index else "Times-Bold", 9)
            self._canvas.drawString(MARGIN, self._y, label)
            for place, cell in enumerate(reversed(cells)):
                self._canvas.drawRightString(right - place * 78, self._y, cell)
            self._y -= LINE
        self._y -= LINE * 0.6
