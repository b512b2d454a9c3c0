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


def xref_that_points_at_itself() -> bytes:
    """Its table says that the table before it is itself."""
    good = a_pdf()
    start = int(good.rsplit(b"startxref\n", 1)[1].split()[0])
    return good.replace(b"/Root 1 0 R >>", b"/Root 1 0 R /Prev %d >>" % start)


def length_of_itself() -> bytes:
    """The length of a stream is the stream."""
    return raw_pdf(one_page(b"<< /Length 4 0 R >>\nstream\n%s\nendstream" % show(b"whose length is it?")))


def parent_of_itself() -> bytes:
    """A page that inherits from itself, and has nothing of its own."""
    return raw_pdf(one_page(stream(show(b"an orphan"))) | {3: b"<< /Type /Page /Parent 3 0 R /Contents 4 0 R >>"})


def run_length_bomb(megabytes: int) -> bytes:
    """128 bytes from each two."""
    content = b"\x81 " * (megabytes * (1 << 20) // 128) + b"\x80"
    return raw_pdf(one_page(stream(zlib.compress(content, 9), b"/Filter [/FlateDecode /RunLengthDecode]")))


def endless_character_map() -> bytes:
    """A font whose characters are mapped in one range of four thousand million."""
    mapping = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <00000000> <FFFFFFFF> endcodespacerange\n"
        b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange endcmap end end"
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return raw_pdf(one_page(stream(show(b"mapped"))) | {5: font, 6: stream(mapping)})


def image_without_end() -> bytes:
    """An image within the content that never says where it ends."""
    return raw_pdf(one_page(stream(b"BI /W 1 /H 1 /BPC 8 /CS /G ID " + b"E" * 5_000_000)))


def deep_page_tree(depth: int) -> bytes:
    """Each node of the tree has one child."""
    objects = one_page(stream(show(b"at the bottom")), pages=b"<< /Type /Pages /Kids [10 0 R] /Count 1 >>")
    for level in range(depth):
        child = 11 + level if level + 1 < depth else 3
        parent = 9 + level if level else 2
        objects[10 + level] = b"<< /Type /Pages /Parent %d 0 R /Kids [%d 0 R] /Count 1 >>" % (parent, child)
    return raw_pdf(objects)


def huge_numbers() -> bytes:
    """Numbers that no machine holds, wherever a number is expected."""
    content = b"BT /F1 %s Tf 1e999 %s Td (numbers) Tj ET" % (b"9" * 10_000, b"-" * 1000 + b"1")
    return raw_pdf(one_page(stream(content)) | {2: b"<< /Type /Pages /Kids [3 0 R] /Count %s >>" % (b"9" * 400)})


def traps() -> dict[str, bytes]:
    """One of each kind, by name: whatever is made of it, it must be made in time."""
    return {
        "nothing": b"",
        "header only": header_only(),
        "random after header": random_after_header(),
        "lying count": lying_count(),
        "page tree cycle": page_tree_cycle(),
        "deep page tree": deep_page_tree(20_000),
        "inflating": inflating(200),
        "inflating twice": inflating(900, layers=2),
        "run length": run_length_bomb(500),
        "endless text": endless_text(150),
        "forms within forms": form_bomb(8, 10),
        "nested arrays": nested_arrays(500_000),
        "many cheap pages": many_cheap_pages(6000),
        "xref that points at itself": xref_that_points_at_itself(),
        "length of itself": length_of_itself(),
        "parent of itself": parent_of_itself(),
        "endless character map": endless_character_map(),
        "image without end": image_without_end(),
        "huge numbers": huge_numbers(),
        "odd characters": odd_characters(),
    }
