"""PDFs that somebody might send: broken, locked, endless."""

import io
import random
import zlib
from collections.abc import Mapping

from pypdf import PdfReader, PdfWriter


def raw_pdf(objects: Mapping[int, bytes], root: int = 1) -> bytes:
    """A PDF written by hand: the bytes of each object by its number."""
    out = bytearray(b"%PDF-1.7\n")
    offsets: dict[int, int] = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 65535 f \n"
    out += b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, root, start)
    return bytes(out)


def stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), extra, content)


FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def one_page(content: bytes, *, pages: bytes = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>") -> dict[int, bytes]:
    """The objects of a document with one page; `content` is the body of its content stream object."""
    return {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: pages,
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        4: content,
        5: FONT,
    }


def show(text: bytes) -> bytes:
    return b"BT /F1 12 Tf 20 200 Td (%s) Tj ET\n" % text


def many_cheap_pages(count: int) -> bytes:
    """Each page is the same object: a few bytes each."""
    kids = b" ".join([b"3 0 R"] * count)
    return raw_pdf(one_page(stream(show(b"cheap")), pages=b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count)))


def lying_count() -> bytes:
    return raw_pdf(one_page(stream(show(b"one page")), pages=b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>"))


def page_tree_cycle() -> bytes:
    return raw_pdf(one_page(stream(show(b"x")), pages=b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>"))


def inflating(megabytes: int, *, layers: int = 1) -> bytes:
    """A content stream that grows by a thousand when it is read, in each layer."""
    content = b" " * (megabytes << 20)
    for _ in range(layers):
        content = zlib.compress(content, 9)
    filters = b" ".join([b"/FlateDecode"] * layers)
    return raw_pdf(one_page(stream(content, b"/Filter [%s]" % filters)))


def endless_text(megabytes: int) -> bytes:
    """Text that is shown again and again: small as a file, large as a page."""
    content = show(b"all work and no play makes jack a dull boy") * (megabytes * (1 << 20) // 80)
    return raw_pdf(one_page(stream(zlib.compress(content, 9), b"/Filter /FlateDecode")))


def form_bomb(depth: int, width: int) -> bytes:
    """Forms that show forms that show forms: `width ** depth` texts from a few hundred bytes."""
    objects = one_page(stream(b"/X0 Do\n"))
    objects[3] = objects[3].replace(b"/Resources <<", b"/Resources << /XObject << /X0 10 0 R >>")
    for level in range(depth):
        inner = b" ".join([b"/X%d Do" % (level + 1)] * width) if level + 1 < depth else show(b"boom")
        resources = b"/Font << /F1 5 0 R >> /XObject << /X%d %d 0 R >>" % (level + 1, 11 + level)
        extra = b"/Type /XObject /Subtype /Form /BBox [0 0 300 300] /Resources << %s >>" % resources
        objects[10 + level] = stream(inner, extra)
    return raw_pdf(objects)


def nested_arrays(depth: int) -> bytes:
    return raw_pdf(one_page(stream(b"[" * depth + b"]" * depth + b" TJ\n" + show(b"deep"))))


def header_only() -> bytes:
    return b"%PDF-1.7\n"


def random_after_header(seed: int = 7) -> bytes:
    return b"%PDF-1.7\n" + random.Random(seed).randbytes(50_000)


def encrypted(pdf: bytes, password: str) -> bytes:
    """With an empty password anybody may read it, and only printing is forbidden."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def a_pdf() -> bytes:
    return raw_pdf(one_page(stream(show(b"Nothing is wrong with this one."))))


def one_broken_page() -> bytes:
    """Two pages, one of which is a number."""
    pages = b"<< /Type /Pages /Kids [3 0 R 6 0 R] /Count 2 >>"
    return raw_pdf(one_page(stream(show(b"the good page")), pages=pages) | {6: b"42"})


def odd_characters() -> bytes:
    """A font that maps its letters to an emoji, half of one, and NUL."""
    mapping = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
3 beginbfchar <41> <D83DDE00> <42> <D83D> <43> <0000> endbfchar endcmap end end"""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return raw_pdf(one_page(stream(show(b"xAyBzCw"))) | {5: font, 6: stream(mapping)})
