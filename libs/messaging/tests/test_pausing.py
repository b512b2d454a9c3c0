"""When the next try is due."""

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from messaging.pausing import Pause, at_ceiling, back_off

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(("tries", "longest"), [(0, 1), (1, 2), (4, 16), (10, 60), (1000, 60)])
def test_back_off_grows_to_its_ceiling_and_is_spread(tries: int, longest: int) -> None:
    delays = {back_off(tries, first=SECOND, ceiling=MINUTE) for _ in range(50)}
    assert longest * SECOND / 2 <= min(delays) < max(delays) <= longest * SECOND


def test_nobody_is_asked_before_the_time_they_gave() -> None:
    assert back_off(0, first=SECOND, ceiling=MINUTE, retry_after=90) == 90 * SECOND
    assert back_off(0, first=SECOND, ceiling=MINUTE, retry_after=1e9) == timedelta(hours=1)
    assert back_off(9, first=SECOND, ceiling=MINUTE, retry_after=0.1) > SECOND


def test_the_ceiling_is_told() -> None:
    assert not at_ceiling(5, first=SECOND, ceiling=MINUTE)
    assert at_ceiling(6, first=SECOND, ceiling=MINUTE)


def test_a_pause_grows_while_the_configuration_stays_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(seconds: float) -> None:
        then = time.monotonic() + seconds
        monkeypatch.setattr("messaging.pausing.time", SimpleNamespace(monotonic=lambda: then))

    pause = Pause()
    assert 4 * SECOND < pause.begin("wrong") <= 5 * SECOND
    assert 4 * SECOND < pause.begin("others fail, too") <= 5 * SECOND, "of those that ran at once none counts again"
    passes(5)
    assert 9 * SECOND < pause.begin("wrong") <= 10 * SECOND
    pause.end()
    assert pause.reason is None
    assert 4 * SECOND < pause.begin("wrong") <= 5 * SECOND
