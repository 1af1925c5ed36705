"""How much there is to learn from a text, from 0 to 5, as a language model says: the question of FineWeb-Edu
(arXiv 2406.17557, section 4), which kept 3 and more.
"""

import json
from dataclasses import dataclass

from edge.data.asking import Asked
from edge.data.frame.step import Drop, Row

HIGHEST = 5
SCHEMA = {
    "type": "object",
    "properties": {"rating": {"type": "integer", "enum": list(range(HIGHEST + 1))}},
    "required": ["rating"],
    "additionalProperties": False,
}
TOKENS = 32
QUESTION = """How much can a reader learn from the text below? Answer with a rating from 0 to 5:
0: nothing; advertising, lists of links, or nonsense
1: a little that is true or useful
2: some, but it is out of order or mixed with other things
3: it explains something and hangs together
4: it teaches its subject clearly, with few distractions
5: an outstanding lesson

Text:
{text}"""


@dataclass(frozen=True, slots=True)
class Rating:
    """Keeps a row whose text is rated `least` or higher, by its first `letters`; the rating is kept with it."""

    model: Asked
    least: int
    letters: int

    def __call__(self, row: Row, _seed: int) -> Row | Drop:
        said = self.model.answer(
            QUESTION.format(text=row.data["text"][: self.letters]), SCHEMA, TOKENS
        )
        rating = rating_of(said)
        if rating is None:
            return Drop("no rating", said[:200])
        if rating < self.least:
            return Drop("low rating", f"{rating}, below {self.least}")
        return Row(row.file, row.line, {**row.data, "rating": rating}, row.child)


def rating_of(said: str) -> int | None:
    """The rating in an answer; a server may not hold the form that it was asked for."""
    try:
        rating = json.loads(said)["rating"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return rating if type(rating) is int and 0 <= rating <= HIGHEST else None
