"""The kinds of field that requests are made of, and the two parents of all HTTP models."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

# Characters that show nothing, and so are no content at either end of a question.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)


class Request(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Response(BaseModel):
    """What we answer: fields may be added, never taken away."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def visible(text: str) -> str:
    """The text without white space and zero-width characters at its ends."""
    while (trimmed := text.strip().strip(_INVISIBLE)) != text:
        text = trimmed
    return text


LONGEST_QUESTION = 4000
"""Characters."""

MOST_PASSAGES = 50
"""What `top_k` may be."""

USUAL_PASSAGES = 8
"""What it is where nobody says."""


def _question(text: str) -> str:
    trimmed = visible(text)
    if not trimmed:
        raise ValueError("must not be blank")
    if len(trimmed) > LONGEST_QUESTION:
        raise ValueError(f"must have at most {LONGEST_QUESTION:,} characters")
    if "\x00" in trimmed:
        raise ValueError("must not contain a NUL character")
    return trimmed


# The outer bound keeps absurd inputs from being trimmed at all; the description tells of the text within.
Question = Annotated[
    str,
    Field(
        max_length=16_000,
        examples=["When does the warranty end?"],
        json_schema_extra={"minLength": 1, "maxLength": LONGEST_QUESTION},
    ),
    AfterValidator(_question),
]
TopK = Annotated[
    int, Field(strict=True, ge=1, le=MOST_PASSAGES, description=f"How many passages; {USUAL_PASSAGES} if left out.")
]
Utc = AwareDatetime
