"""A stage on a database with messaging's tables; what it holds is only remembered."""

import pytest
from chassis.database import Sessions

from libs.messaging.tests.conftest import _template, engine, sessions
from libs.stages.tests.at_work import AtWork

__all__ = ["_template", "at_work", "engine", "sessions"]


@pytest.fixture
def at_work(sessions: Sessions) -> AtWork:
    return AtWork(sessions)
