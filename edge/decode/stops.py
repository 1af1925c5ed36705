"""Stop strings: text that ends an answer and is not part of it."""

from collections.abc import Sequence

from edge.errors import EdgeError


class StopStrings:
    """Lets text through up to the first stop string to be completed.

    Of what may still become a stop string nothing is let through, and nothing else is held.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise EdgeError("a stop string is empty: it would end every answer", fix="leave it out")
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """The text that may be shown now, and whether a stop string was met: feed no more then."""
        text = self._held + piece
        # Whichever is complete first ends the answer, however the text was cut into pieces.
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)[1]], True
        keep = self._unsure(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """What was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held

    def _unsure(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
