"""Documents and people, the same for the same seed and different for any other."""

import io
import random
from dataclasses import dataclass

from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

CHARACTERS_A_CHUNK = 600  # as ingest splits such a text: sentences are kept whole, and some are repeated
LINES_A_PAGE = 46
LINE = 82


def _words(text: str) -> list[str]:
    return text.split()


_PLACES = _words(
    "Alderney Brandvik Corrigan Dunmore Eastholm Farrow Glenfield Harwick Ivarsund Jessup Kelmarsh Lindqvist"
)
_THINGS = _words("reservoir viaduct observatory turbine archive greenhouse laboratory terminal foundry orchard cannery")
_VERBS = _words("reports measures exceeds maintains records replaces requires supplies monitors limits")
_NOUNS = _words(
    "capacity output pressure volume inventory revenue temperature schedule voltage tonnage clearance budget "
    "throughput staffing moisture insurance depreciation tolerance accuracy visibility"
)
_TAILS = (
    "according to the survey of the previous quarter",
    "although the committee had expected otherwise",
    "as agreed with the suppliers of the northern region",
    "before the maintenance window in the autumn begins",
    "unless the regulator asks for another inspection",
    "while the second phase of construction continues",
)


@dataclass(frozen=True)
class File:
    """A file to be uploaded."""

    name: str
    media_type: str
    content: bytes


def prose(seed: int, characters: int) -> str:
    """About so many characters of sentences, in paragraphs."""
    words, sentences, length = random.Random(seed), list[str](), 0
    while length < characters:
        sentence = _sentence(words)
        sentences.append(sentence + ("\n\n" if words.random() < 0.12 else " "))
        length += len(sentences[-1])
    return f"Record {seed}. " + "".join(sentences).rstrip() + "\n"


def text_file(seed: int, *, chunks: int) -> File:
    """A text that is split into about so many chunks."""
    return File(f"text-{seed}.txt", "text/plain", prose(seed, chunks * CHARACTERS_A_CHUNK).encode())


def note(seed: int) -> File:
    """A text of one chunk."""
    return File(f"note-{seed}.txt", "text/plain", prose(seed, 500).encode())


def pdf(seed: int, *, pages: int) -> File:
    """A report with full pages of text."""
    lines = _lines(prose(seed, pages * LINES_A_PAGE * LINE))
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True)
    for page in range(pages):
        text = canvas.beginText(60, A4[1] - 70)
        text.setFont("Helvetica", 10)
        for line in lines[page * LINES_A_PAGE : (page + 1) * LINES_A_PAGE] or [f"Page {page + 1}"]:
            text.textLine(line)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return File(f"report-{seed}.pdf", "application/pdf", out.getvalue())


def another(report: File, seed: int) -> File:
    """The same PDF as a file that nobody has seen yet, made in no time."""
    return File(f"report-{seed}.pdf", report.media_type, report.content + b"%% %d\n" % seed)


def question_about(file: File, number: int) -> str:
    """A question that one sentence of a text file answers: the words for it are in both, and one of them is rare."""
    sentences = file.content.decode().split(". ")
    _, thing, _, place, _, _, noun, _, amount, *_ = sentences[1 + number % (len(sentences) - 2)].split()
    return f"Which {noun} of {amount} units has the {thing} at {place}?"


def email(seed: int, number: int) -> str:
    """The address of a person."""
    return f"person-{seed}-{number}@example.org"


def _sentence(words: random.Random) -> str:
    return (
        f"The {words.choice(_THINGS)} at {words.choice(_PLACES)} {words.choice(_VERBS)} a {words.choice(_NOUNS)} of "
        f"{words.randrange(10, 99_999)} units {words.choice(_TAILS)}."
    )


def _lines(text: str) -> list[str]:
    lines, line = list[str](), ""
    for word in text.split():
        if len(line) + len(word) >= LINE:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line]
