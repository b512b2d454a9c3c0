import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from chassis.problems import ProblemError
from contracts.documents import DocumentSort, DocumentStatus
from gateway.cursors import Place, Query, read, write

BY_NAME = Query(sort=DocumentSort.NAME)
BY_AGE = Query(sort=DocumentSort.NEWEST)
SOME_ID = UUID("5b0d3c1e-4f27-4a86-9d0e-7c2f61a8b934")


def forged(*parts: object) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize("place", [Place("ärger.txt", uuid4()), Place('"quoted" \\ name', uuid4())])
def test_a_place_by_name_is_found_again(place: Place) -> None:
    assert read(BY_NAME, write(BY_NAME, place)) == place


def test_a_place_in_time_is_found_again() -> None:
    place = Place(datetime.now(UTC), uuid4())

    assert read(BY_AGE, write(BY_AGE, place)) == place


@pytest.mark.parametrize(
    "other",
    [
        Query(sort=DocumentSort.NAME_REVERSED),
        Query(sort=DocumentSort.NAME, q="a"),
        Query(sort=DocumentSort.NAME, status=(DocumentStatus.READY,)),
    ],
)
def test_a_cursor_belongs_to_its_order_and_filter(other: Query) -> None:
    with pytest.raises(ProblemError) as refused:
        read(other, write(BY_NAME, Place("a", uuid4())))
    assert "another order or filter" in refused.value.errors[0].detail


def test_the_order_in_which_a_filter_is_named_does_not_matter() -> None:
    one = Query(sort=DocumentSort.NAME, status=(DocumentStatus.READY, DocumentStatus.FAILED))
    two = Query(sort=DocumentSort.NAME, status=(DocumentStatus.FAILED, DocumentStatus.READY))

    assert one.digest == two.digest


@pytest.mark.parametrize(
    "cursor",
    ["x", "!!!", "é", "a" * 5000, forged(), forged("a", "b"), forged("a", 1, "c"), forged("a", "b", "no-uuid"),
     forged("a", "b\x00", str(SOME_ID)), forged("a", "b\ud800", str(SOME_ID)), urlsafe_b64encode(b"{}").decode(),
     urlsafe_b64encode(b"\xff\xfe").decode(), urlsafe_b64encode(b"[" * 1400).decode()],
)  # fmt: skip
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ProblemError) as refused:
        read(BY_NAME, cursor)
    assert (refused.value.status, refused.value.errors[0].code) == (422, "cursor.invalid")


@pytest.mark.parametrize("added", ["!!!!", "    "])
def test_a_cursor_is_taken_as_it_was_written_alone(added: str) -> None:
    with pytest.raises(ProblemError):
        read(BY_NAME, added + write(BY_NAME, Place("a", SOME_ID)))


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00"])
def test_a_forged_time_is_refused(time: str) -> None:
    with pytest.raises(ProblemError):
        read(BY_AGE, forged(BY_AGE.digest, time, str(uuid4())))
