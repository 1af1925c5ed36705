"""What a made scene is of: things with a kind, a colour, a texture and a size, each with a word of its own.

Every colour goes with every kind but one, which training never shows: which, their places in the lists below say, so
that each colour and each kind is known and the pair is not.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from edge.vision.palette import Colour

Size = Literal["small", "large"]
Texture = Literal["plain", "striped", "spotted", "checked"]

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "ring")
LETTERS = tuple(f"letter {letter}" for letter in "ACEFHKLPTUXZ")
DIGITS = tuple(f"digit {digit}" for digit in "0123456789")
KINDS = (*SHAPES, *LETTERS, *DIGITS)
# Far from each other, and from the greys that are behind them: the least of a colour's channels is far from its most.
COLOURS: dict[str, Colour] = {
    "red": (215, 35, 40),
    "green": (30, 150, 50),
    "blue": (45, 75, 215),
    "yellow": (240, 210, 40),
    "purple": (130, 45, 165),
    "orange": (240, 130, 25),
    "pink": (245, 120, 185),
    "cyan": (40, 195, 205),
}
TEXTURES: tuple[Texture, ...] = ("plain", "striped", "spotted", "checked")
SIZES: tuple[Size, ...] = ("small", "large")
GROUPS = ("shape", "letter", "digit", "thing")
_HELD = 5  # which diagonal of colours and kinds


@dataclass(frozen=True, slots=True)
class Look:
    """A thing apart from where it is."""

    kind: str
    colour: str
    texture: Texture
    size: Size

    @property
    def group(self) -> str:
        """What anything like it is called."""
        return "shape" if self.kind in SHAPES else self.kind.partition(" ")[0]

    @property
    def name(self) -> str:
        """All that can be said of it, without an article: "small striped red circle"."""
        texture = () if self.texture == "plain" else (self.texture,)
        return " ".join((self.size, *texture, self.colour, self.kind))


def held_out(colour: str, kind: str) -> bool:
    """Whether training never shows a thing of this kind in this colour, nor asks for one."""
    return (list(COLOURS).index(colour) + KINDS.index(kind)) % len(COLOURS) == _HELD


@cache
def pairs(*, held: bool) -> tuple[tuple[str, str], ...]:
    """Colours and kinds: those of training, or those that it never shows."""
    return tuple(
        (colour, kind) for colour in COLOURS for kind in KINDS if held_out(colour, kind) == held
    )


def indefinite(words: str) -> str:
    """With its article: "an orange star"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def several(words: str) -> str:
    """More than one of it: "red crosses", "letters A"."""
    first, letter, symbol = words.rpartition(" ")
    if len(symbol) == 1:  # of a letter or a digit the word before it
        return f"{several(first)} {symbol}"
    ends = "es" if symbol.endswith(("s", "x")) else "s"
    return f"{first}{letter}{symbol}{ends}"
