"""Keys, names and files are computed the same way by whoever writes and whoever reads them."""

from collections import Counter
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from contracts.chunks_file import BATCH, Chunk, encode, parse_chunks, parse_header
from contracts.index import chunk_id, collection_name, shard_of
from contracts.internal import decode_excluded, encode_excluded
from contracts.objects import about_key, chunks_key, document_prefix, owner_prefix, raw_key, version_prefix

OWNER, DOCUMENT = UUID(int=1), UUID(int=2)


def chunks(count: int) -> list[Chunk]:
    texts = [f"chunk {ordinal} – “quoted”\nand\x0bodd\u2028lines\x85" for ordinal in range(count)]
    return [
        Chunk(ordinal=i, page=i // 3 + 1, start=0, end=len(t), text=t, sha256=sha256(t.encode()).hexdigest())
        for i, t in enumerate(texts)
    ]


def test_everything_of_a_version_lies_below_everything_of_its_document() -> None:
    version = version_prefix(OWNER, DOCUMENT, 2)
    assert chunks_key(OWNER, DOCUMENT, 2, 7) == f"{version}chunks.7.jsonl"
    for key in (raw_key(OWNER, DOCUMENT), about_key(OWNER, DOCUMENT), version):
        assert key.startswith(document_prefix(OWNER, DOCUMENT))
        assert key.startswith(owner_prefix(OWNER))
    assert not version_prefix(OWNER, DOCUMENT, 20).startswith(version)


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_a_batch_is_read_by_its_range_alone(count: int) -> None:
    wanted = chunks(count)
    encoded = encode(wanted, filename="a.pdf", pages=9)
    first, rest = encoded.content.split(b"\n", 1)
    header = parse_header(first)
    assert (header.filename, header.pages, header.chunk_count) == ("a.pdf", 9, count)
    assert header.batches == -(-count // BATCH)
    for batch in range(header.batches):
        begin, end = header.batch_range(batch)
        assert parse_chunks(rest[begin:end]) == wanted[batch * BATCH : (batch + 1) * BATCH]


def test_a_chunk_is_read_by_its_range_in_the_file() -> None:
    wanted = chunks(70)
    encoded = encode(wanted, filename="a.txt", pages=None)
    begin, end = encoded.ranges[66]
    assert parse_chunks(encoded.content[begin:end]) == [wanted[66]]
    assert encoded.sha256 == sha256(encoded.content).hexdigest()


def test_an_owner_lies_in_one_shard_and_owners_spread() -> None:
    assert shard_of(OWNER, 64) == shard_of(UUID(int=1), 64)
    filled = Counter(shard_of(uuid4(), 64) for _ in range(6_400))
    assert set(filled) <= set(range(64))
    assert max(filled.values()) < 200, "a hash that clusters would make one collection slow"


def test_names_tell_what_they_hold() -> None:
    assert chunk_id(DOCUMENT, 3, 14) == f"{DOCUMENT}:3:14"
    assert collection_name("idx1", 7) == "idx1-007"


@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_excluded_documents_survive_the_header(count: int) -> None:
    ids = frozenset(uuid4() for _ in range(count))
    assert decode_excluded(encode_excluded(ids)) == ids


@pytest.mark.parametrize("value", ["AAAA", "A", "ü"])
def test_a_header_that_names_no_documents_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"Docqa-Excluded|ASCII|ascii"):
        decode_excluded(value)
