"""Pauses that double, up to a ceiling and for ever."""

from datetime import timedelta

import pytest
from chassis.doubling import doubled

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_a_pause_doubles_up_to_its_ceiling() -> None:
    pauses = [doubled(MINUTE, times, ceiling=HOUR) for times in range(8)]

    assert [pause / MINUTE for pause in pauses] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("times", [41, 1000, 10**9])
def test_it_stays_at_its_ceiling_however_often_it_is_doubled(times: int) -> None:
    assert doubled(MINUTE, times, ceiling=HOUR) == HOUR
    assert doubled(timedelta(days=365), times, ceiling=timedelta(days=366)) == timedelta(days=366)
