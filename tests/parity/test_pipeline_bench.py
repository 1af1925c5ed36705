"""What a bench of pictures times, by a clock that only work moves: a second a tile, a hundredth a token read."""

from collections.abc import Sequence
from typing import Any

import internvls
import numpy as np
import pytest

from edge.artifact.pipeline import PipelineArtifact
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.measure import pipeline_bench
from edge.pipelines.internvl import InternVL

pytest.importorskip("torch")
pytest.importorskip("transformers")
SYSTEM = f"<|im_start|>system\n{internvls.MESSAGE}<|im_end|>"
FIRST = SYSTEM + "<|im_start|>user\n<img></img>\nWhat is it?<|im_end|><|im_start|>assistant\n"
SECOND = "<|im_end|><|im_start|>user\nAnd what colour has it?<|im_end|><|im_start|>assistant\n"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> PipelineArtifact:
    folder = tmp_path_factory.mktemp("internvl")
    internvls.write(folder / "mini")
    return convert_pipeline(folder / "mini", folder / "it", Options(target="torch", quant="fp32"))


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that were opened, whose work alone is time."""
    now, opened = [0.0], list[Any]()

    class Working(InternVL):
        def __init__(self, *args: Any, **how: Any) -> None:
            super().__init__(*args, **how)
            opened.append(self)
            began: list[int] = []
            self.began = began  # what was in the cache, each time a prompt was read
            tower, prefill = self.eyes.tower, self.decoder.prefill

            def seeing(**inputs: Any) -> dict[str, np.ndarray]:
                now[0] += 1
                return tower(**inputs)

            def reading(tokens: Sequence[int]) -> np.ndarray:
                now[0] += 0.01 * len(tokens)
                began.append(self.decoder.length)
                return prefill(tokens)

            self.eyes.tower = seeing  # type: ignore[assignment]
            self.decoder.prefill = reading  # type: ignore[method-assign]

    monkeypatch.setattr(pipeline_bench, "InternVL", Working)
    monkeypatch.setattr(pipeline_bench, "perf_counter", lambda: now[0])
    return opened


def test_what_is_waited_for(artifact: PipelineArtifact, working: list[Any]) -> None:
    one, three, five = pipeline_bench.bench(artifact, tiles=[5, 1, 3], new=6, rounds=2)
    encode = working[0].tokenizer.encode
    question, more = len(encode(FIRST, special=True)), len(encode(SECOND, special=False))
    assert working[0].began[-3:] == [0, question + 4 * 5 + 6, 0]
    for timing, tiles in ((one, 1), (three, 3), (five, 5)):
        read = question + 4 * tiles
        assert (timing.tiles, timing.prompt, timing.rounds) == (tiles, read, 2)
        assert timing.tiles_all == pytest.approx((1, 1))
        assert timing.first_all == pytest.approx((tiles + 0.01 * read,) * 2)
        assert timing.second_all == pytest.approx((0.01 * more,) * 2)
        assert timing.again_all == pytest.approx((0.01 * read,) * 2)
        assert len(timing.decode_all) == 2
        assert timing.decode_tps > 0


def test_answers_are_as_long_as_was_asked_for(
    artifact: PipelineArtifact, working: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [0]

    def counted(self: Any, token: int) -> np.ndarray:
        """Every token would end an answer."""
        steps[0] += 1
        self._shown.append(False)
        logits = self._decoder.step(token)
        return np.where(np.arange(len(logits)) == working[0].tokenizer.id_of("</s>"), 99, 0)

    monkeypatch.setattr("edge.pipelines.splicing.SplicingDecoder.step", counted)
    pipeline_bench.bench(artifact, tiles=[1], new=6, rounds=3)
    assert steps == [pipeline_bench._WARM_UP + 3 * 6]


def test_what_does_not_fit_is_refused(artifact: PipelineArtifact) -> None:
    for tiles, new in ((1, 500), (41, 300)):
        with pytest.raises(
            EdgeError, match=f"about {tiles} tiles, .* do not fit the context of 512"
        ):
            pipeline_bench.bench(artifact, tiles=[tiles], new=new)
