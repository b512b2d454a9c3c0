import pytest
from gateway.ranges import Span, UnsatisfiableRange, span_of

SIZE = 100


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=90-1000000000000", 90, 100),
        ("bytes=-10", 90, 100),
        ("bytes=-1000", 0, 100),
        ("BYTES = 5 - 6", 5, 7),
    ],
)
def test_one_range_is_served(header: str, start: int, end: int) -> None:
    assert span_of(header, SIZE) == Span(start, end, SIZE)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=0-1,5-6", "bytes=20-10", "items=0-1", "bytes=a-b", "bytes=0--1",
     "bytes=" + "9" * 50 + "-", "bytes=٣-٤"],
)  # fmt: skip
def test_what_is_no_single_range_gets_the_whole_file(header: str | None) -> None:
    assert span_of(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(UnsatisfiableRange) as refused:
        span_of(header, SIZE)
    assert refused.value.headers == {"Content-Range": "bytes */100"}


def test_an_empty_file_has_no_ranges() -> None:
    with pytest.raises(UnsatisfiableRange):
        span_of("bytes=-5", 0)


def test_a_span_tells_what_it_is() -> None:
    span = Span(10, 20, 100)

    assert (span.length, span.content_range) == (10, "bytes 10-19/100")
