"""Every remote test runs on both protocols."""

import pytest

from libs.models.tests.providers import Remote, gemini, openai


@pytest.fixture(params=["openai", "gemini"])
def remote(request: pytest.FixtureRequest) -> Remote:
    """A provider, one protocol after the other."""
    if request.param == "openai":
        return openai(request.getfixturevalue("openai_stub"))
    return gemini(request.getfixturevalue("gemini_stub"))
