"""WordNet databases that tests write: a few synsets in the layout of wndb(5WN)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LICENCE = "".join(f"  {line} what a licence says\n" for line in range(1, 30))


@dataclass(frozen=True)
class Meaning:
    """Lemmas, and the names of what it is a kind of; `instance` of the first."""

    lemmas: Sequence[str]
    hypernyms: Sequence[str] = ()
    instance: bool = False


def written(folder: Path, meanings: Mapping[str, Meaning]) -> dict[str, int]:
    """index.noun and data.noun of these synsets; name -> offset. A lemma's senses lie in their order."""
    offsets, at = {}, len(LICENCE)
    for name, meaning in meanings.items():
        offsets[name] = at
        at += len(_line(0, meaning, dict.fromkeys(meanings, 0)))
    data = [_line(offsets[name], meaning, offsets) for name, meaning in meanings.items()]
    senses: dict[str, list[int]] = {}
    for name, meaning in meanings.items():
        for lemma in meaning.lemmas:
            senses.setdefault(lemma.lower().replace(" ", "_"), []).append(offsets[name])
    index = [
        f"{lemma} n {len(found)} 1 @ {len(found)} 0 {' '.join(f'{x:08d}' for x in found)}  \n"
        for lemma, found in sorted(senses.items())
    ]
    (folder / "data.noun").write_text(LICENCE + "".join(data))
    (folder / "index.noun").write_text(LICENCE + "".join(index))
    return offsets


def _line(offset: int, meaning: Meaning, offsets: Mapping[str, int]) -> str:
    words = " ".join(f"{lemma.replace(' ', '_')} 0" for lemma in meaning.lemmas)
    symbol = "@i" if meaning.instance else "@"
    pointers = "".join(f"{symbol} {offsets[name]:08d} n 0000 " for name in meaning.hypernyms)
    count = f"{len(meaning.hypernyms):03d}"
    return f"{offset:08d} 03 n {len(meaning.lemmas):02x} {words} {count} {pointers}| a gloss  \n"


ANIMALS = {
    "entity": Meaning(["entity"]),
    "animal": Meaning(["animal", "beast"], ["entity"]),
    "machine": Meaning(["machine"], ["entity"]),
    "pet": Meaning(["pet"], ["animal"]),
    "canine": Meaning(["canine", "canid"], ["animal"]),
    "dog": Meaning(["dog", "domestic dog", "Canis familiaris"], ["canine", "pet"]),
    "wolf": Meaning(["wolf"], ["canine"]),
    "retriever": Meaning(["retriever"], ["dog"]),
    "golden": Meaning(["golden retriever"], ["retriever"]),
    "terrier": Meaning(["terrier"], ["dog"]),
    "lifter": Meaning(["crane"], ["machine"]),
    "bird": Meaning(["bird"], ["animal"]),
    "crane": Meaning(["crane"], ["bird"]),
    "Fido": Meaning(["Fido"], ["dog"], instance=True),
    "tench": Meaning(["tench", "Tinca tinca"], ["animal"]),
}
