"""Reading and splitting, in this process: what comes out of documents of all kinds."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from contracts.chunks_file import parse_chunk, parse_header
from ingest.chunk_rows import ChunkRow, pack, unpack
from ingest.extracting import extract
from ingest.extraction import Extracted, Extraction
from ingest.limits import Limits
from ingest.reading import Engine, read_pdf
from ingest.verdicts import Refused, Verdict
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from tests.samples import hostile

Order = Callable[..., Extraction]
Pdf = Callable[[list[str]], bytes]

PAGES = [
    "The lighthouse of Hornby Sound was built in 1871. " * 40,
    "",
    "Its lamp burns 12 litres of oil a night.\nIts keeper lives alone.",
]


def extracted(order: Extraction) -> Extracted:
    extract(order)
    return Extracted.from_bytes(order.answer_file.read_bytes())


def verdict(order: Extraction) -> Verdict | None:
    return extracted(order).verdict


def rotated_pdf(lines: list[str], *, drawn: int, rotation: int) -> bytes:
    """One page, with each word and then each line drawn by itself, in the direction and on the side that are told."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(400, 400), invariant=True)
    canvas.translate(200, 200)
    canvas.rotate(drawn)
    canvas.translate(-200, -200)
    first, *others = lines
    x = 60.0
    for word in first.split():
        canvas.drawString(x, 320, word)
        x += canvas.stringWidth(f"{word} ", "Helvetica", 12)
    for number, line in enumerate(others, start=1):
        canvas.drawString(60, 320 - 14 * number, line)
    canvas.setPageRotation(rotation)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


@pytest.mark.parametrize("engine", list(Engine))
def test_every_chunk_lies_in_its_page_where_it_says(
    extraction: Order, pdf: Pdf, limits: Limits, engine: Engine
) -> None:
    order = extraction(pdf(PAGES), engine=engine, chunk_size=200, chunk_overlap=40)
    answer = extracted(order)
    header, *lines = order.chunks_file.read_bytes().splitlines()
    chunks = [parse_chunk(line) for line in lines]
    pages = read_pdf(order.source, engine, limits)

    assert answer.pages == parse_header(header).pages == 3
    assert answer.chunk_count == len(chunks) > 10
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.page for chunk in chunks} == {1, 3}
    for chunk in chunks:
        assert chunk.page is not None
        assert pages[chunk.page - 1][chunk.start : chunk.end] == chunk.text
        assert sha256(chunk.text.encode()).hexdigest() == chunk.sha256
    assert "12 litres of oil" in chunks[-1].text


def test_rows_tell_where_each_chunk_lies_in_the_file(extraction: Order, pdf: Pdf) -> None:
    order = extraction(pdf(PAGES))
    answer = extracted(order)
    content = order.chunks_file.read_bytes()
    rows = list(unpack(answer.packed_rows))

    assert sha256(content).hexdigest() == answer.chunks_sha256
    assert len(rows) == answer.chunk_count
    for row in rows:
        chunk = parse_chunk(content[row.byte_start : row.byte_end])
        assert (row.page, row.text_start, row.text_end) == (chunk.page, chunk.start, chunk.end)
        assert row.sha256.hex() == chunk.sha256


def test_rows_survive_their_packing() -> None:
    rows = [ChunkRow(None, 0, 5, 0, 90, b"a" * 32), ChunkRow(7, 2**30, 2**30 + 1, 2**40, 2**40 + 9, b"b" * 32)]

    assert list(unpack(pack(rows))) == rows


@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown"])
def test_a_text_file_has_positions_in_the_file_and_no_pages(extraction: Order, media_type: str) -> None:
    text = "# Käse\r\n\r\nAlle Sorten 😀, die wir führen.\r\n"
    order = extraction(text.encode("utf-16"), media_type=media_type, filename="käse.md")
    answer = extracted(order)
    header, line = order.chunks_file.read_bytes().splitlines()
    chunk = parse_chunk(line)

    assert answer.pages is None
    assert parse_header(header).filename == "käse.md"
    assert chunk.page is None
    assert text[chunk.start : chunk.end] == chunk.text == text.strip()


@pytest.mark.parametrize("raw", [b"", b" \n\t ", "\u3000".encode(), b"\xff\xfe", b"\x00\x00\x00"])
def test_a_text_file_without_text_is_refused(extraction: Order, raw: bytes) -> None:
    assert verdict(extraction(raw, media_type="text/plain")) is Verdict.NO_TEXT


def test_too_much_text_is_refused(extraction: Order, pdf: Pdf, limits: Limits) -> None:
    few = replace(limits, max_characters=100)

    assert verdict(extraction(b"x" * 101, media_type="text/plain", limits=few)) is Verdict.TOO_MUCH_TEXT
    assert verdict(extraction(pdf(["x" * 101]), limits=few)) is Verdict.TOO_MUCH_TEXT
    assert verdict(extraction(pdf(["x" * 60] * 2), limits=few)) is Verdict.TOO_MUCH_TEXT


def test_an_unknown_type_is_refused(extraction: Order) -> None:
    assert verdict(extraction(b"<html>", media_type="text/html")) is Verdict.UNSUPPORTED


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        hostile.header_only(),
        hostile.random_after_header(),
        hostile.a_pdf()[: len(hostile.a_pdf()) // 2],
        hostile.raw_pdf({1: b"<< /Type /Catalog >>"}),
    ],
    ids=["empty", "header-only", "random-after-header", "truncated", "without-pages"],
)
def test_a_damaged_pdf_is_refused_as_such(extraction: Order, raw: bytes, engine: Engine) -> None:
    assert verdict(extraction(raw, engine=engine)) is Verdict.CORRUPT


@pytest.mark.parametrize("engine", list(Engine))
def test_a_pdf_that_asks_for_a_password_is_refused_as_such(extraction: Order, engine: Engine) -> None:
    locked = hostile.encrypted(hostile.a_pdf(), "secret")

    assert verdict(extraction(locked, engine=engine)) is Verdict.ENCRYPTED


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("scheme", [b"/Adobe.PubSec /SubFilter /adbe.pkcs7.s5 /V 4", b"/EBX_HANDLER /V 4"])
def test_a_pdf_that_no_password_opens_is_locked_all_the_same(extraction: Order, engine: Engine, scheme: bytes) -> None:
    locked = hostile.raw_pdf(hostile.one_page(hostile.stream(b"x")) | {6: b"<< /Filter %s >>" % scheme})
    locked = locked.replace(b"/Root", b"/Encrypt 6 0 R /ID [<00> <00>] /Root")

    assert verdict(extraction(locked, engine=engine)) is Verdict.ENCRYPTED


@pytest.mark.parametrize("engine", list(Engine))
def test_a_pdf_that_only_forbids_printing_is_read(extraction: Order, engine: Engine) -> None:
    open_to_all = hostile.encrypted(hostile.a_pdf(), "")

    assert extracted(extraction(open_to_all, engine=engine)).chunk_count > 0


@pytest.mark.parametrize("engine", list(Engine))
def test_a_scan_without_text_is_refused_as_such(extraction: Order, pdf: Pdf, engine: Engine) -> None:
    assert verdict(extraction(pdf(["", ""]), engine=engine)) is Verdict.NO_TEXT


@pytest.mark.parametrize("engine", list(Engine))
def test_many_cheap_pages_are_too_many(extraction: Order, engine: Engine) -> None:
    assert verdict(extraction(hostile.many_cheap_pages(5001), engine=engine)) is Verdict.TOO_MANY_PAGES


def test_a_stream_beyond_what_pypdf_inflates_is_too_complex(extraction: Order) -> None:
    assert verdict(extraction(hostile.inflating(200), engine=Engine.PYPDF)) is Verdict.TOO_COMPLEX


def test_a_count_that_lies_makes_no_pages(extraction: Order) -> None:
    assert extracted(extraction(hostile.lying_count())).pages == 1


def test_a_page_tree_that_bites_its_tail_ends(extraction: Order) -> None:
    answer = extracted(extraction(hostile.page_tree_cycle()))

    assert answer.verdict is not None or answer.chunk_count == 1


def test_what_pdfium_cannot_read_is_tried_with_pypdf(extraction: Order, pdf: Pdf, limits: Limits) -> None:
    # pdfium insists on finding the header within the first kilobyte.
    buried = b"\n" * 4096 + pdf(["Found all the same."])
    order = extraction(buried)

    assert extracted(order).chunk_count == 1
    assert read_pdf(order.source, Engine.PDFIUM, limits) == read_pdf(order.source, Engine.PYPDF, limits)


def test_a_page_that_nobody_can_read_does_not_cost_the_others(extraction: Order) -> None:
    answer = extracted(extraction(hostile.one_broken_page()))

    assert (answer.pages, answer.chunk_count) == (2, 1)


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("broken", [b"42", b"null", b"<< /Type /Pag >>", None])
def test_pages_after_a_broken_one_keep_their_numbers(
    extraction: Order, limits: Limits, engine: Engine, broken: bytes | None
) -> None:
    order = extraction(five_pages(third=broken))

    assert read_pdf(order.source, engine, limits) == ["text 1", "text 2", "", "text 4", "text 5"]


def test_what_people_have_filled_in_or_remarked_is_text_of_its_page(extraction: Order, limits: Limits) -> None:
    filled = hostile.raw_pdf(
        {
            **hostile.one_page(hostile.stream(hostile.show(b"Name of the applicant:"))),
            1: b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [10 0 R 11 0 R 12 0 R 13 0 R] >> >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> /Annots [10 0 R 11 0 R 12 0 R 13 0 R 14 0 R 15 0 R] >>",
            10: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (applicant) /V (Theodora Quistgaard) /Rect [0 0 9 9] >>",
            11: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (f1_02) /TU (Licence) /V (LIC-2291) /Rect [0 0 9 9] >>",
            12: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (pin) /Ff 8192 /V (secret) /Rect [0 0 9 9] >>",
            13: b"<< /Type /Annot /Subtype /Widget /FT /Btn /T (agreed) /V /On /AS /On /Rect [0 0 9 9] >>",
            14: b"<< /Type /Annot /Subtype /Text /Contents (M\\374ller objects) /Rect [0 0 9 9] >>",
            15: b"<< /Type /Annot /Subtype /Link /Contents (a link) /Rect [0 0 9 9] >>",
        }
    )
    assert read_pdf(extraction(filled).source, Engine.PDFIUM, limits) == [
        "Name of the applicant:\n\napplicant: Theodora Quistgaard\n\nLicence: LIC-2291\n\nMüller objects"
    ]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("drawn", [0, 90, 180, 270])
def test_a_page_is_read_in_order_whichever_way_it_lies(
    extraction: Order, limits: Limits, drawn: int, rotation: int
) -> None:
    lines = ["The ferry to Eskmouth leaves at seven and", "comes back at nine. In winter the last", "boat is at four."]
    order = extraction(rotated_pdf(lines, drawn=drawn, rotation=rotation))
    [page] = read_pdf(order.source, Engine.PDFIUM, limits)
    assert page.split() == " ".join(lines).split()


def test_what_pypdf_reads_again_is_left_out_where_it_counts_other_pages(extraction: Order, limits: Limits) -> None:
    order = extraction(five_pages(third=b"42", count=7))

    assert read_pdf(order.source, Engine.PDFIUM, limits) == ["text 1", "text 2", "", "text 4", "text 5", "", ""]


def test_a_broken_branch_of_unknown_length_leaves_pypdf_without_page_numbers(extraction: Order) -> None:
    order = extraction(five_pages(third=b"42", count=7), engine=Engine.PYPDF)

    assert verdict(order) is Verdict.CORRUPT


def five_pages(*, third: bytes | None, count: int = 5) -> bytes:
    """Pages that say "text 1" to "text 5", the last two in a branch of their own; `third` is put for the third."""
    page = hostile.one_page(b"")[3]
    objects = hostile.one_page(b"") | {
        2: b"<< /Type /Pages /Kids [11 0 R 12 0 R 13 0 R 6 0 R] /Count %d >>" % count,
        6: b"<< /Type /Pages /Parent 2 0 R /Kids [14 0 R 15 0 R] /Count 2 >>",
    }
    for number in range(1, 6):
        objects[10 + number] = page.replace(b"4 0 R", b"%d 0 R" % (20 + number))
        objects[20 + number] = hostile.stream(hostile.show(b"text %d" % number))
    if third is None:
        del objects[13]
    else:
        objects[13] = third
    return hostile.raw_pdf(objects)


def test_pypdf_says_nothing_of_what_it_meets(
    extraction: Order, limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    read_pdf(extraction(hostile.one_broken_page()).source, Engine.PYPDF, limits)

    assert caplog.text == ""


def test_text_beyond_the_basic_plane_survives_and_half_of_it_does_not(extraction: Order, limits: Limits) -> None:
    for engine in Engine:
        (page,) = read_pdf(extraction(hostile.odd_characters()).source, engine, limits)

        assert "😀" in page
        assert "\x00" not in page
        page.encode()


def test_running_out_of_memory_is_the_documents_fault(extraction: Order) -> None:
    order = extraction(b"x", media_type="text/plain", chunk_size=Greedy())
    assert verdict(order) is Verdict.TOO_COMPLEX


class Greedy(int):
    """A chunk size that takes all the memory there is."""

    def __sub__(self, other: object) -> int:
        raise MemoryError


def test_orders_and_answers_survive_their_way_through_a_pipe(extraction: Order) -> None:
    order = extraction(b"x")
    refused = Extracted(verdict=Verdict.CORRUPT)
    read = Extracted(pages=3, chunk_count=9, chunks_sha256="ab", packed_rows=b"a line\nand another")

    assert Extraction.from_json(order.to_json()) == order
    assert [Extracted.from_bytes(answer.to_bytes()) for answer in (refused, read)] == [refused, read]
    assert "\n" not in order.to_json()
    assert json.loads(refused.to_bytes())["verdict"] == "document.corrupt"


def test_every_verdict_tells_the_owner_what_to_do() -> None:
    assert all(verdict.detail.endswith(".") for verdict in Verdict)
    assert str(Refused(Verdict.CORRUPT)) == "document.corrupt"
