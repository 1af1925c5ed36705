"""What a compacted cache costs: right answers about the small world, by how rows are chosen and by how
many are kept, beside the whole cache.

Each case is asked in every way, so that differences are between answers to the same questions: a
question at the end of a long text, another one about the same text after it, and a needle, one fact
at some depth of a text about others. Names and places are ones that training never saw.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.errors import Unsupported
from edge.measure.evaluate import token_losses
from edge.measure.recall import Case, case, needle
from edge.measure.record import WHOLE, Cell, Found, Record, Way
from edge.measure.replay import Replay
from edge.protocols import Decoder, Evictable
from edge.run.model import Model, Wish
from edge.system.progress import Progress, silent
from edge.text.chat import ChatTemplate, Message
from edge.text.tokenizer import Tokenizer

NARROW = SnapKV(window=16, kernel=1)
REUSE = SnapKV(purpose="reuse")
MODES: Mapping[str, SnapKV] = {
    "SnapKV": SnapKV(),  # as in the paper
    "sinks": SnapKV(sinks=4),
    "pyramid": SnapKV(layers="pyramid"),
    "pieces": SnapKV(chunk=256),
    "narrow": NARROW,
    "reuse": REUSE,
    "reuse, pyramid": replace(REUSE, layers="pyramid"),
    "reuse, pieces": replace(REUSE, chunk=256),
}
SHARES = (2, 4, 8, 16)  # a prompt's rows over those that are kept
TASKS = ("question", "second question", "needle")
ALWAYS = ("question", "needle")  # the second question may be about what was not told
TEXT = "text"
DISTANCE = 1000  # tokens since the fact
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WISH = Wish(max_tokens=64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """A conversation as ids, each part with the answer that is right; what follows a wrong answer is
    what would have followed the right one.
    """

    tasks: tuple[str, ...]
    ids: tuple[Sequence[int], ...]
    answers: tuple[str, ...]


def ways_of(modes: Iterable[str]) -> list[Way]:
    """The whole cache, and every share of it in every mode."""
    return [WHOLE, *(Way(mode, share) for mode in modes for share in SHARES)]


def talks(model: Model, number: int, seed: int = 0) -> list[Talk]:
    """The conversations of one case."""
    asked = case(random.Random(f"{seed}/{DISTANCE}/{number}"), number, DISTANCE)
    depth = DEPTHS[number % len(DEPTHS)]
    hidden = needle(random.Random(f"{seed}/needle/{number}"), number, depth=depth)
    return [_talk(model, TASKS[:2], asked), _talk(model, TASKS[2:], hidden)]


def answered(
    artifact: Artifact, tokenizer: Tokenizer, decoder: Evictable, talk: Talk, way: Way
) -> dict[str, bool]:
    """Which of a conversation's answers are exact, in one way of decoding."""
    options = kept(way, len(talk.ids[0]))
    source = decoder if options is None else CompactingDecoder(decoder, options)
    decoder.rewind(0)
    model = opened(artifact, tokenizer, source)
    return {
        task: "".join(model.reply(ids, _WISH)).strip() == answer
        for task, ids, answer in zip(talk.tasks, talk.ids, talk.answers, strict=True)
    }


def opened(artifact: Artifact, tokenizer: Tokenizer, source: Decoder) -> Model:
    return Model(artifact, tokenizer, ChatTemplate.load(artifact.folder), source)


def kept(way: Way, prompt: int) -> SnapKV | None:
    """The options of a way for a prompt of so many tokens; None for the whole cache."""
    if way == WHOLE:
        return None
    options = MODES[way.mode]
    return replace(options, capacity=max(prompt // way.share, options.window + options.sinks + 1))


def lost(decoder: Evictable, ids: Sequence[int], prompt: int, way: Way) -> float:
    """Nats a token of what follows the first `prompt` ids, which were compacted; not of the first that
    follows, which the whole cache predicts.
    """
    options = kept(way, prompt)
    source = decoder if options is None else CompactingDecoder(decoder, options)
    source.rewind(0)
    source.prefill(ids[:prompt])
    return float(token_losses(source, ids[prompt:]).mean())


def measure(
    artifact: Artifact,
    tokenizer: Tokenizer,
    decoder: Evictable,
    file: Path,
    *,
    cases: int,
    modes: Iterable[str],
    progress: Progress = silent,
) -> Record:
    """Ask what the file does not hold yet; it is written after each case. Modes that the runtime refuses
    are noted in it.
    """
    record = Record.load(file)
    refused = record.about.setdefault("refused", {})
    record.about |= {"model": artifact.manifest.name, "distance": DISTANCE}
    record.about["modes"] = record.about.get("modes", {}) | described(modes)
    asked = ways_of(mode for mode in modes if mode not in refused)
    missing = list(record.missing(ALWAYS, asked, cases))
    model = opened(artifact, tokenizer, decoder)
    with progress("cases", len(missing)) as advance:
        for number in missing:
            for talk in talks(model, number):
                again = Replay(decoder)
                for way in ways_of(mode for mode in modes if mode not in refused):
                    try:
                        right = answered(artifact, tokenizer, again, talk, way)
                    except Unsupported as error:
                        refused[way.mode] = error.problem
                        continue
                    exact = {Cell(task, way): float(value) for task, value in right.items()}
                    record.add(number, exact)
            record.save(file)
            advance(1)
    return record


def lost_in(
    decoder: Evictable, texts: Sequence[Sequence[int]], prompt: int, ways: Sequence[Way]
) -> Iterator[tuple[int, Found]]:
    """Of each text what follows a compacted prompt costs."""
    for number, ids in enumerate(texts):
        again = Replay(decoder)
        yield number, {Cell(TEXT, way): lost(again, ids, prompt, way) for way in ways}


def described(modes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The options of each mode, without the capacity, which follows the prompt."""
    return {
        mode: {name: value for name, value in asdict(MODES[mode]).items() if name != "capacity"}
        for mode in modes
    }


def _talk(model: Model, tasks: tuple[str, ...], asked: Case) -> Talk:
    questions = [asked.question] if asked.later is None else [asked.question, asked.later]
    messages, ids = [Message("user", asked.prompt)], list[list[int]]()
    for question in questions:
        if ids:
            messages.append(Message("user", question.text))
        ids.append(model.encode(messages))
        messages.append(Message("assistant", question.answer))
    return Talk(
        tasks=tasks[: len(questions)],
        ids=tuple(ids),
        answers=tuple(question.answer for question in questions),
    )
