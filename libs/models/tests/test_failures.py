"""What a status means, and how long to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from chassis.failures import LONGEST_RETRY_AFTER, Misconfigured, Transient
from models.chains import chain_of
from models.failures import from_status, retry_after


def test_a_pause_is_read_from_seconds_milliseconds_and_dates() -> None:
    assert retry_after({"Retry-After": "3"}) == 3
    assert retry_after({"retry-after": "9", "Retry-After-MS": "250"}) == 0.25
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert retry_after({"retry-after": soon}) == pytest.approx(100, abs=2)


@pytest.mark.parametrize("said", ["", "soon", "nan", "inf", "Tue, 99 Foo 2026"])
def test_a_pause_that_nobody_understands_is_none(said: str) -> None:
    assert retry_after({"retry-after": said}) is None


def test_a_pause_is_never_negative_and_never_endless() -> None:
    assert retry_after({"retry-after": "-5"}) == 0
    assert retry_after({"retry-after": "1e9"}) == LONGEST_RETRY_AFTER
    assert retry_after({}) is None


def test_a_bill_that_is_not_paid_is_a_matter_of_configuration() -> None:
    assert isinstance(from_status(402, {}), Misconfigured)


def test_a_redirect_is_no_answer() -> None:
    assert isinstance(from_status(302, {}), Transient)


def test_the_chain_of_an_error_ends_even_if_it_is_a_circle() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    assert list(chain_of(first)) == [first, second]
