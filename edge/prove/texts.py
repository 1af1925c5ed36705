"""Proof that an artifact cuts texts, joins tokens and frames conversations as its source does.

The judge of tokens is the source's own library (`edge.prove.judges`); of several vocabularies the first
is the authority, and what the others can be asked, a plain text, has to agree with it.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.artifact.manifest import Artifact
from edge.errors import EdgeError
from edge.files.hashing import sha256
from edge.prove import judges, probes
from edge.prove.judges import Bench, Judge
from edge.text import pieces
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer
from edge.text.vocabulary import vocabularies, vocabulary_of

_SPOKEN, _LONG = 32, 12  # texts made of the vocabulary's own tokens, and how many of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What the library of one of the source's vocabularies says."""

    library: str
    file: str
    texts: int  # each compared as ids, with and without BOS, and back
    differing: int
    first: str | None  # the first text that differs, as Python writes it
    note: str | None = None  # why it was not asked


@dataclass(frozen=True, kw_only=True, slots=True)
class TextProof:
    """Nothing was judged where neither has a vocabulary: then nothing can differ."""

    judged: tuple[Judgement, ...]
    same_tokens: bool
    same_template: bool
    conversations: int


def prove(artifact: Artifact, source: Path) -> TextProof:
    """Compare an artifact's texts with what its source's files say; refuses if no library can judge."""
    files = _origin(artifact, source)
    home = files[0].parent if files else source
    bench = judges.of(files)
    template = ChatTemplate.load(artifact.folder)
    shown = list(_shown(template)) if files else []
    judged = tuple(_judged(artifact.folder, bench, shown)) if files else ()
    told = bool(judged) or not (files or vocabulary_of(artifact.folder))
    return TextProof(
        judged=judged,
        same_tokens=told and not any(judgement.differing for judgement in judged),
        same_template=_framed(template) == _said(home),
        conversations=len(shown),
    )


def _origin(artifact: Artifact, source: Path) -> list[Path]:
    """The source's vocabularies; where it has none, those of the folder that was named when the artifact
    was made: its own copies, if they still are what was read then.
    """
    if found := vocabularies(source):
        return found
    recorded = artifact.manifest.source
    copies = vocabularies(artifact.folder)
    return [file for file in copies if recorded.get(file.name) == sha256(file)]


def _judged(folder: Path, bench: Bench, shown: Sequence[str]) -> Iterator[Judgement]:
    if vocabulary_of(folder) is None:
        return
    ours = Tokenizer.load(folder)
    authority = bench.judges[0][1]
    plain = [*probes.TEXTS, *_spoken(ours)]
    for place, (file, judge) in enumerate(bench.judges):
        special = {*authority.special, *judge.special}
        mixed = (*probes.around(authority.special), *probes.around(_symbols(file)), *shown)
        alone = (text for text in plain if _is_plain(text, special))
        texts = alone if place else (*plain, *mixed)
        yield _compared(ours, judge, file, texts, whole=not place)
    for name, reason in bench.absent.items():
        yield Judgement(library="none", file=name, texts=0, differing=0, first=None, note=reason)


def _is_plain(text: str, special: Collection[str]) -> bool:
    """Whether every file of a source has to read it alike: one that transformers saved puts no blank
    before a text that begins with one.
    """
    return not text.startswith((" ", "\u2581")) and not any(token in text for token in special)


def _compared(
    ours: Tokenizer, judge: Judge, file: Path, texts: Iterable[str], *, whole: bool
) -> Judgement:
    asked = list(dict.fromkeys(texts))
    wrong = [text for text in asked if not _agree(ours, judge, text, whole=whole)]
    return Judgement(
        library=judge.library,
        file=file.name,
        texts=len(asked),
        differing=len(wrong),
        first=next((ascii(text[:80]) for text in wrong), None),
    )


def _agree(ours: Tokenizer, judge: Judge, text: str, *, whole: bool) -> bool:
    """Ids of a text, those with what goes around it, and the text of the ids."""
    ids = judge.encode(text, special=False)
    around = not whole or ours.encode(text, special=True) == judge.encode(text, special=True)
    back = judge.decode(ids)
    same_back = back is None or ours.decode(ids, skip_special=False) == back
    return around and same_back and ours.encode(text, special=False) == ids


def _spoken(ours: Tokenizer) -> Iterator[str]:
    """Texts made of tokens that lie side by side nowhere else."""
    rng = random.Random(0)
    for _ in range(_SPOKEN):
        yield ours.decode([rng.randrange(ours.vocab_size) for _ in range(_LONG)])


def _symbols(file: Path) -> list[str]:
    """User-defined symbols of a SentencePiece model, but for those that other files give a new name."""
    if file.suffix != ".model":
        return []
    found, renamed = pieces.read(file).pieces, set(judges.Said.of(file.parent).added.values())
    symbols = (i for i, piece in enumerate(found) if piece.kind == pieces.USER_DEFINED)
    return [found[i].text for i in symbols if i not in renamed]


def _framed(template: ChatTemplate | None) -> tuple[str, Mapping[str, str]] | None:
    return None if template is None else (template.source, dict(template.tokens))


def _said(source: Path) -> tuple[str, Mapping[str, str]] | None:
    """A source's template and the tokens that it may name, read as plain files."""
    text = judges.template(source)
    return None if text is None else (text, dict(judges.Said.of(source).names))


def _shown(template: ChatTemplate | None) -> Iterator[str]:
    """Conversations as text; one that the template refuses, such as of a system message, is none."""
    if template is None:
        return
    for messages, generate in probes.CONVERSATIONS:
        with suppress(EdgeError):
            yield template.render(messages, generate=generate)
