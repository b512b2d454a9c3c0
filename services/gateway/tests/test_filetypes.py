"""What a file is: content, name and declared type must agree."""

import random

import pytest
from gateway.filetypes import HEAD_BYTES, judge

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
EXE = b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff"
NOISE = random.Random(1).randbytes(HEAD_BYTES)


@pytest.mark.parametrize(
    ("name", "head", "declared", "kind"),
    [
        ("a.pdf", PDF, "application/pdf", "application/pdf"),
        ("A.PDF", PDF, "application/x-pdf", "application/pdf"),
        ("a.pdf", b"junk before it\n" + PDF, "", "application/pdf"),
        ("a.pdf", PDF, "application/octet-stream", "application/pdf"),
        ("a.txt", b"Some words.", "text/plain", "text/plain"),
        ("a.txt", b"Some words.", "text/plain; charset=utf-8", "text/plain"),
        ("a.md", b"# Title", "text/markdown", "text/markdown"),
        ("a.md", b"# Title", "text/plain", "text/markdown"),
        ("a.md", b"# Title", "application/octet-stream", "text/markdown"),
        ("a.txt", "Größe und Maß".encode("latin-1"), "", "text/plain"),
        ("a.txt", "Größe und Maß".encode("utf-16"), "", "text/plain"),
        ("a.txt", "Plain words, no mark".encode("utf-16-le"), "", "text/plain"),
        ("a.txt", "Plain words, no mark".encode("utf-16-be"), "", "text/plain"),
        ("a.txt", b"words \xff\xfe and more words that are not UTF-8", "", "text/plain"),
        ("a.txt", b"a stray \x00 in a long text is no program" * 3, "", "text/plain"),
        ("a.txt", b"   \n\t  ", "", "text/plain"),
        ("a.txt", ("é" * HEAD_BYTES).encode()[1 : HEAD_BYTES + 1][:HEAD_BYTES], "", "text/plain"),
        ("a.txt", b"MZ is how this sentence begins", "", "text/plain"),
        ("a.txt", b"ID3 is an algorithm that learns decision trees.", "", "text/plain"),
        ("a.md", b"RIFF files have chunks, GIF89a has blocks", "", "text/markdown"),
        ("a.txt", b"GIF89a has blocks", "", "text/plain"),
        ("a.txt", b"OggS marks each page.", "", "text/plain"),
    ],
)
def test_what_agrees_is_taken(name: str, head: bytes, declared: str, kind: str) -> None:
    assert judge(head=head, filename=name, declared=declared) == kind


@pytest.mark.parametrize(
    ("name", "head", "declared"),
    [
        ("a.pdf", PNG, "application/pdf"),
        ("a.pdf", b"Some words.", "application/pdf"),
        ("a.pdf", PDF, "image/png"),
        ("a.txt", PDF, "text/plain"),
        ("a.txt", PNG, "text/plain"),
        ("a.txt", EXE, "text/plain"),
        ("a.txt", NOISE, "text/plain"),
        ("a.txt", b"PK\x03\x04rest", ""),
        ("a.txt", b"GIF89a\x01\x00\x01\x00\x80", ""),
        ("a.txt", b"ID3\x03\x00\x00\x00\x00\x0f\x76TPE1 and more words than bytes that are none" * 9, ""),
        ("a.txt", b"RIFF\x24\x08\x00\x00WAVEfmt \x10\x00\x00\x00" + b"words " * 99, ""),
        ("a.txt", b"OggS\x00\x02" + b"words " * 99, ""),
        ("a.txt", b"Rar!\x1a\x07\x01\x00" + b"words " * 99, ""),
        ("a.txt", b"Some words.", "text/html"),
        ("a.exe", EXE, "application/octet-stream"),
        ("a.html", b"<html>", "text/html"),
        ("a.svg", b"<svg>", "image/svg+xml"),
        ("a.zip", b"PK\x03\x04", "application/zip"),
        ("pdf", PDF, "application/pdf"),
        ("a.txt.exe", b"words", "text/plain"),
    ],
)
def test_what_does_not_agree_is_refused(name: str, head: bytes, declared: str) -> None:
    assert judge(head=head, filename=name, declared=declared) is None
