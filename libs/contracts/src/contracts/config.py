"""What a client should know before anyone logs in."""

from contracts.fields import Response


class AcceptedType(Response):
    """A kind of file that is taken."""

    extension: str
    media_type: str


class Config(Response):
    """`GET /api/config`."""

    version: str
    max_file_bytes: int
    max_files: int
    accepted: list[AcceptedType]
    max_question_characters: int
    max_top_k: int
    default_top_k: int
    chat_model: str
    embedding_model: str
