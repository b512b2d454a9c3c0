"""Pauses that double."""

from datetime import timedelta

_MOST = 30  # from a second on that is 34 years: who still doubles then has no ceiling


def doubled(first: timedelta, times: int, *, ceiling: timedelta) -> timedelta:
    """`first`, doubled so many times, and never more than `ceiling`."""
    return timedelta(seconds=min(first.total_seconds() * 2.0 ** min(times, _MOST), ceiling.total_seconds()))
