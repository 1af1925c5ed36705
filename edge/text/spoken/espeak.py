"""espeak-ng in the place of the guess from letters, for who has it: a program of its own (GPL-3), never needed, no part
of this package.
"""

import shutil
import subprocess

from edge.errors import EdgeError, Unsupported
from edge.text.spoken.lexicon import Accent
from edge.text.spoken.symbols import SPACE, Phonemes, spelled

_VOICES = {"us": "en-us", "gb": "en"}
_SECONDS = 10.0


class Espeak:
    """Unsupported where the program is not on the path."""

    def __init__(self, accent: Accent = "us") -> None:
        found = shutil.which("espeak-ng")
        if found is None:
            raise Unsupported(
                "there is no program espeak-ng",
                fix="install it, or leave words to be guessed from letters",
            )
        self._command = [found, "-q", "--ipa", "-v", _VOICES[accent], "--stdin"]

    def phonemes(self, word: str) -> Phonemes:
        """Of a word, as it says it alone."""
        try:
            done = subprocess.run(
                self._command,
                input=word.encode(),
                capture_output=True,
                timeout=_SECONDS,
                check=True,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise EdgeError(
                f"espeak-ng cannot say {word!r}: {error}", fix="leave it to be guessed from letters"
            ) from None
        text = done.stdout.decode(errors="replace").replace("ɜː", "ɝ").replace("ɚɹ", "ɚ")
        return tuple(symbol for symbol in spelled(text, "ipa") if symbol != SPACE)
