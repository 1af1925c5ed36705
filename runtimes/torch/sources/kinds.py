"""The source of a recipe's rows."""

from edge.text.tokenizer import Tokenizer
from edge.train.origin import Origin
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Stories, Text
from edge_runtimes.torch.sources.source import Source
from edge_runtimes.torch.sources.stories import StorySource
from edge_runtimes.torch.sources.texts import TextSource


def source_of(recipe: TrainingRecipe, origin: Origin) -> Source:
    rows = recipe.rows
    if isinstance(rows, Stories):
        return StorySource(recipe, rows)
    assert isinstance(rows, Text)
    assert origin.folder is not None
    return TextSource(recipe, rows, origin.spec, Tokenizer.load(origin.folder))
