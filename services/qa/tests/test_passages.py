from uuid import UUID

import pytest
from qa.passages import PassageId

DOCUMENT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_an_id_reads_back() -> None:
    passage = PassageId(DOCUMENT, 2, 17)
    assert PassageId.parse(str(passage)) == passage


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"{DOCUMENT}",
        f"{DOCUMENT}:1",
        f"{DOCUMENT}:0:0",
        f"{DOCUMENT}:1:-1",
        f"{DOCUMENT}:1:01",
        f" {DOCUMENT}:1:1",
    ],
)
def test_what_an_index_says_is_not_taken_on_trust(text: str) -> None:
    assert PassageId.parse(text) is None
