"""What clients send is judged at the border."""

from typing import Any

import pytest
from contracts.accounts import CreateKeyRequest, SignupRequest
from contracts.documents import DeleteRequest
from contracts.questions import AskRequest, RenameChatRequest, SearchRequest
from pydantic import ValidationError


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u200b", "\ufeff \u2060\u200d\u00ad", "\u00a0\u3000"], ids=ascii)
def test_a_question_of_nothing_visible_is_blank(blank: str) -> None:
    with pytest.raises(ValidationError, match=r"blank|at least"):
        AskRequest(question=blank)


def test_a_question_loses_what_nobody_sees_at_its_ends() -> None:
    assert AskRequest(question=" \u200b When?\ufeff\n").question == "When?"


@pytest.mark.parametrize("question", ["a" * 4001, "a" * 20_000, "a\x00b", "a\ud800b"])
def test_a_question_that_is_too_long_or_no_text_is_refused(question: str) -> None:
    with pytest.raises(ValidationError):
        SearchRequest(query=question)


@pytest.mark.parametrize("top_k", [0, -1, 51, 10**9, True, "5", 5.0, float("nan"), None])
def test_top_k_is_an_integer_from_1_to_50(top_k: Any) -> None:
    with pytest.raises(ValidationError):
        AskRequest(question="Why?", top_k=top_k)


@pytest.mark.parametrize("field", ["where", "system_prompt", "user_id", "live_versions"])
def test_an_unknown_field_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        AskRequest.model_validate({"question": "Why?", field: "x"})


def test_at_most_a_hundred_ids_are_taken() -> None:
    ids = ["01990000-0000-7000-8000-000000000001"] * 101
    for model, field in ((DeleteRequest, "ids"), (AskRequest, "document_ids")):
        with pytest.raises(ValidationError):
            model.model_validate({"question": "Why?", field: ids} if model is AskRequest else {field: ids})


@pytest.mark.parametrize("title", ["", "\u200b", "a" * 201, "a\x00"])
def test_a_title_is_a_visible_line(title: str) -> None:
    with pytest.raises(ValidationError):
        RenameChatRequest(title=title)


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as error:
        SignupRequest.model_validate({"email": "a@example.org", "password": "canary"})
    assert "canary" not in str(error.value.errors(include_input=False))


@pytest.mark.parametrize("name", [" ", "two\nlines"])
def test_a_name_is_one_visible_line(name: str) -> None:
    with pytest.raises(ValidationError):
        CreateKeyRequest(name=name)
