"""How close do questions come to passages that answer them, and to passages that do not?

`python libs/models/tests/evidence/measure.py` prints it for the local model, `… openai:text-embedding-3-small` for
any other that the environment has a key for. `models.known` quotes the result, and test_evidence.py repeats it.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from models.embeddings import Embeddings, open_embeddings
from models.settings import ModelSettings
from numpy.typing import NDArray

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """Cosines: of each question with the passage that answers it, and of each idle question with its best passage."""

    answering: NDArray[np.float32]
    best_of_none: NDArray[np.float32]


def facts() -> list[tuple[str, str]]:
    return [(fact, question) for fact, question in json.loads((HERE / "facts.json").read_text())]


def long_passages() -> list[str]:
    """Each fact among three paragraphs of talk, as in a passage of about 700 characters."""
    talk = (HERE / "filler.txt").read_text().splitlines()
    return [
        f"{talk[place % 5]} {fact} {talk[(place + 1) % 5]} {talk[(place + 2) % 5]}"
        for place, (fact, _) in enumerate(facts())
    ]


async def measure(model: Embeddings, passages: list[str]) -> Measured:
    questions = [question for _, question in facts()]
    idle = json.loads((HERE / "unanswerable.json").read_text())
    there = await model.embed_texts(passages)
    asked = await model.embed_texts(questions)
    not_there = await model.embed_texts(idle)
    return Measured((asked * there).sum(axis=1), (not_there @ there.T).max(axis=1))


async def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "local"
    model = open_embeddings(ModelSettings(embedding_model=name))
    for title, passages in (("short", [fact for fact, _ in facts()]), ("long", long_passages())):
        measured = await measure(model, passages)
        say(f"{title}: answering {_spread(measured.answering)}, best of none {_spread(measured.best_of_none)}")
        for floor in np.arange(0.1, 0.65, 0.05):
            kept = (measured.answering >= floor).mean()
            wrong = (measured.best_of_none >= floor).mean()
            say(f"  floor {floor:.2f}: keeps {kept:4.0%} of what answers, lets {wrong:4.0%} of idle questions through")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _spread(cosines: NDArray[np.float32]) -> str:
    return " ".join(f"{value:.2f}" for value in np.quantile(cosines, [0, 0.1, 0.5, 0.9, 1]))


if __name__ == "__main__":
    asyncio.run(main())
