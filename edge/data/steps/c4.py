"""The rules by which C4 keeps lines and pages (arXiv 1910.10683, section 2.2), with the signs that end a sentence in
any script.
"""

import re
from dataclasses import dataclass

from edge.data.steps.words import Words

ENDS = ".!?…。！？｡．؟۔।॥።༎։။៕"
_CLOSING = "\"'”’»)）」』】]"
_SENTENCE = re.compile(f"[{re.escape(ENDS)}]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Which lines stay: those that end as a sentence, if asked, and have so many words; of a text with so many
    sentences.
    """

    ended: bool
    words: int
    sentences: int

    def kept(self, text: str) -> str:
        """The text of the lines that stay; blank ones between them do, too."""
        lines = [line for line in text.split("\n") if not line.strip() or self._stays(line)]
        return "\n".join(lines).strip()

    def fails(self, text: str) -> tuple[str, str] | None:
        """Why the page is thrown away as a whole, if it is."""
        lower = text.lower()
        if "lorem ipsum" in lower:
            return "lorem ipsum", ""
        if "{" in text:
            return "curly brackets", ""  # of code
        found = len(_SENTENCE.findall(text))
        if found < self.sentences:
            return "few sentences", f"{found}, below {self.sentences}"
        return None

    def _stays(self, line: str) -> bool:
        if "javascript" in line.lower():
            return False
        if self.ended and not line.rstrip().rstrip(_CLOSING).endswith(tuple(ENDS)):
            return False
        return Words.of(line).count >= self.words
