"""Who leaves while a long prompt is read frees the model after the piece that is being read, on every
runtime and by every means; the next answer is the one of a model that was never asked before.
"""

from pathlib import Path

import pytest
from support import converted
from training import ROWS, speaking

from edge import targets
from edge.decode.snapkv import SnapKV
from edge.run.model import Model, Wish, load
from edge.run.strategy import PLAIN, Strategy
from edge.system.cancellation import Unwanted, go_on, unless

PROMPT = [(7 + 31 * i) % ROWS for i in range(1100)]  # three pieces
WISH = Wish(max_tokens=4)
WAYS = {
    "plain": PLAIN,
    "snapkv": Strategy(snapkv=SnapKV(capacity=256)),
    "lookup": Strategy(drafting="lookup"),
    "draft": Strategy(snapkv=SnapKV(capacity=256), drafting="snapkv"),
    "int8": Strategy(kv="int8"),
}
CASES = [
    *((target, "plain") for target in targets.names("converters")),
    *(("onnx", way) for way in WAYS if way != "plain"),
    ("torch", "snapkv"),
    ("gguf", "snapkv"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking(
        tmp_path_factory.mktemp("it") / "it",
        intermediate_size=128,
        num_hidden_layers=1,
        max_position_embeddings=1536,
    )


def opened(source: Path, target: str, strategy: Strategy, folder: Path) -> Model:
    if targets.refusal(target) is not None:
        strategy = Strategy(reference=True)
    return load(converted(folder, source, target=target), strategy=strategy)


@pytest.mark.parametrize(("target", "way"), CASES)
def test_who_leaves_while_a_prompt_is_read(
    source: Path, tmp_path: Path, target: str, way: str
) -> None:
    model = opened(source, target, WAYS[way], tmp_path / "it")
    want = _answer(model)
    model.forget()
    asked = 0

    def left() -> bool:
        nonlocal asked
        asked += 1
        return asked > 1  # after the second piece

    with unless(left), pytest.raises(Unwanted):
        next(model.reply(PROMPT, WISH))
    assert 0 < model.decoder.length < len(PROMPT)
    model.forget()
    assert _answer(model) == want
    assert asked == 2, "nobody is asked any more"


def _answer(model: Model) -> list[int]:
    answer = model.reply(PROMPT, WISH)
    for _ in answer:
        pass
    return list(answer.generation.tokens)


def test_work_that_nobody_watches_goes_on() -> None:
    go_on()
    with unless(lambda: False):
        go_on()
    with pytest.raises(Unwanted), unless(lambda: True):
        go_on()
    go_on()
