"""Notes come out of the service itself as they would come out of a reader."""

import subprocess
import sys
from dataclasses import replace

import pytest
from chassis.failures import Permanent
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest.chunking import chunked
from ingest.decoding import decode
from ingest.limits import Limits
from ingest.notes import is_note, read_note
from ingest.reading import PDF
from ingest.splitting import Splitter

from services.ingest.tests.conftest import LIMITS

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "cp1252", "latin-1"])
TEXTS = st.text(alphabet="ab .\n\t\r。é😀!?\u3000\x00", max_size=200)


@settings(max_examples=500, deadline=None)
@given(TEXTS, ENCODINGS, st.integers(20, 80), st.integers(0, 10))
def test_a_note_is_the_one_chunk_that_the_splitter_makes_of_it(
    text: str, encoding: str, chunk_size: int, chunk_overlap: int
) -> None:
    raw = text.encode(encoding, errors="replace")[: chunk_size - chunk_overlap]
    split = chunked(decode(raw), Splitter(chunk_size, chunk_overlap).spans, filename="a.txt")

    assert is_note("text/plain", len(raw), chunk_size=chunk_size, chunk_overlap=chunk_overlap)
    if split.extracted.chunk_count:
        assert read_note(raw, filename="a.txt", limits=LIMITS) == split
    else:
        with pytest.raises(Permanent):
            read_note(raw, filename="a.txt", limits=LIMITS)


def test_what_may_be_more_than_one_chunk_is_no_note() -> None:
    assert is_note("text/markdown", 850, chunk_size=1000, chunk_overlap=150)
    assert not is_note("text/plain", 851, chunk_size=1000, chunk_overlap=150)
    assert not is_note(PDF, 1, chunk_size=1000, chunk_overlap=150)
    assert not is_note("text/html", 1, chunk_size=1000, chunk_overlap=150)


@pytest.mark.parametrize(("raw", "most", "code"), [(b" \n ", 10, "no_text"), (b"words", 4, "too_much_text")])
def test_a_note_is_refused_for_the_same_reasons(limits: Limits, raw: bytes, most: int, code: str) -> None:
    with pytest.raises(Permanent) as refused:
        read_note(raw, filename="a.txt", limits=replace(limits, max_characters=most))

    assert refused.value.code == f"document.{code}"


def test_the_service_loads_nothing_that_reads_for_the_sake_of_notes() -> None:
    code = (
        "import sys, ingest.main; "
        "print([name for name in ('langchain_text_splitters', 'pypdf', 'pypdfium2') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
