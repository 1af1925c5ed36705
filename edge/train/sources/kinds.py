"""The source of a recipe's rows."""

from collections.abc import Callable

from edge.data import chats, talks
from edge.errors import EdgeError
from edge.text.assistant import refuse_without_roles
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer
from edge.train.origin import Origin
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Chats, Pairs, Stories, Text
from edge.train.sources.pairs import PairSource
from edge.train.sources.source import Source
from edge.train.sources.stories import StorySource
from edge.train.sources.talks import Progress, TalkSource, report
from edge.train.sources.texts import TextSource


def source_of(recipe: TrainingRecipe, origin: Origin, *, say: bool) -> Source:
    """`say`: what of the data was not as it should be."""
    rows, spec = recipe.rows, origin.spec
    if isinstance(rows, Stories):
        return StorySource(recipe, rows)
    assert origin.folder is not None
    if isinstance(rows, Text):
        return TextSource(recipe, rows, spec, Tokenizer.load(origin.folder))
    assert isinstance(rows, Chats | Pairs)
    read = _talks(rows, origin, Progress("lines read") if say else lambda lines: None)
    if say:
        report(read, rows.length)
    if isinstance(rows, Chats):
        return TalkSource(recipe, spec, read)
    return PairSource(recipe, rows, spec, read)


def _talks(rows: Chats | Pairs, origin: Origin, tell: Callable[[int], None]) -> talks.Talks:
    assert origin.folder is not None
    template = ChatTemplate.load(origin.folder)
    if template is None:
        raise EdgeError(
            f"{origin.folder} has no chat template, so that nobody knows how it tells who speaks",
            fix="write one into chat_template.jinja beside its tokenizer",
        )
    refuse_without_roles(template)
    parse = chats.conversation if isinstance(rows, Chats) else chats.pair
    reader = talks.Reader(parse, Tokenizer.load(origin.folder), template)
    return reader.read(rows.files, length=rows.length, longer=rows.longer, tell=tell)
