"""Benchmarks beside lm-evaluation-harness's own model of transformers, on the same checkpoint in fp32: likelihoods,
texts, answers, and the figures of whole tasks. All questions are made up (`made_up`).
"""

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adapting
import made_up
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT, converted

pytest.importorskip("lm_eval")
pytest.importorskip("transformers")

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from edge import targets
from edge.errors import EdgeError, Unsupported
from edge.measure import benchmarks
from edge.measure.answering import Answering, How
from edge.measure.asked import Asked
from edge.measure.benchmarks import measure
from edge.measure.harness_model import HarnessModel, how
from edge.quant.recipe import parse
from edge.run.model import load
from edge.run.strategy import Strategy
from edge.source.checkpoint import Checkpoint
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer

STORIES = ROOT / "edge" / "models" / "edge-stories"
CLOSE = 1e-4  # relative
DESIGN = 1e-3  # of a Core ML package as a device computes it, in half precision
PAIRS = [
    *(
        ("Once upon a time there was a", f" {thing}")
        for thing in ("girl", "red kite", "boat", "dog.")
    ),
    *(("Tom has a kite.\nAnswer:", f" {letter}") for letter in "ABCD"),  # of one token each
    ("", "Once upon a time"),
    ("Tom has a kite.  ", "Tom has a ball."),
    ("法国的首都是", "巴黎"),
    ("naïve caf", "é 🙂"),
    ("tab\t\n", "next"),
    ("<s>Tom", " has"),
    ("Once upon a time there was a dog. " * 30, "The dog ran."),
]
TEXTS = ["Once upon a time there was a dog. " * 9, "法国的首都是巴黎。", ""]
PROMPTS = ["Once upon a time", "Question: Who has the kite?\nAnswer:"]


def asking(kind: str, *each: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, args, 0) for args in each]


@dataclass
class Sized:
    """Of a decoder no more than this."""

    capacity: int


class Theirs(HarnessModel):
    """The same harness, asked by edge, on transformers."""

    def __init__(self, folder: Path, **how: Any) -> None:
        from lm_eval.models.huggingface import HFLM

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        plain = Answering(Tokenizer.load(folder), Sized(2048))  # type: ignore[arg-type]
        super().__init__(plain)
        given = {"pretrained": str(folder), "dtype": "float32", **how}
        self.theirs = HFLM(device="cpu", batch_size=1, **given)

    def loglikelihood(self, requests: Sequence[Instance]) -> Any:
        return self.theirs.loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> Any:
        return self.theirs.loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Sequence[Instance]) -> Any:
        return self.theirs.generate_until(requests, disable_tqdm=True)

    def apply_chat_template(self, *given: Any, **how: Any) -> str:
        return str(self.theirs.apply_chat_template(*given, **how))


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    return Theirs(STORIES)


@pytest.fixture(scope="module")
def numpy_() -> Iterator[Answering]:
    with Checkpoint.open(STORIES) as checkpoint:
        full = targets.oracle().oracle(checkpoint, parse("fp32"))
        yield Answering(Tokenizer.load(STORIES), full)


@pytest.fixture(scope="module")
def wanted(theirs: Theirs) -> tuple[Any, Any, Any]:
    how = {"until": ["\n", "."], "max_gen_toks": 12}
    return (
        theirs.loglikelihood(asking("loglikelihood", *PAIRS)),
        theirs.loglikelihood_rolling(asking("loglikelihood_rolling", *((text,) for text in TEXTS))),
        theirs.generate_until(asking("generate_until", *((text, dict(how)) for text in PROMPTS))),
    )


def agree(ours: Answering, wanted: tuple[Any, Any, Any], close: float) -> None:
    likelihoods, rolling, answers = wanted
    found = ours.likelihoods(PAIRS)
    assert [row.nats for row in found] == pytest.approx([row[0] for row in likelihoods], rel=close)
    assert [row.greedy for row in found] == [row[1] for row in likelihoods]
    assert ours.rolling(TEXTS) == pytest.approx(rolling, rel=close)
    how = How(until=("\n", "."), max_tokens=12)
    assert [ours.continued(text, how) for text in PROMPTS] == answers


def test_the_reference_agrees(numpy_: Answering, wanted: Any) -> None:
    agree(numpy_, wanted, CLOSE)


@pytest.mark.parametrize("target", ["onnx", "torch", "mlx", "gguf", "coreml"])
def test_a_runtime_agrees(target: str, wanted: Any, tmp_path: Path) -> None:
    """Core ML as its package is evaluated, in half precision where it says so."""
    names = {"onnx": "onnxruntime", "mlx": "mlx.core", "gguf": "llama_cpp", "coreml": "coremltools"}
    pytest.importorskip(names.get(target, target))
    made = converted(tmp_path / "it", STORIES, target=target)
    away = targets.refusal(target) is not None
    opened = load(made, exact=not away, strategy=Strategy(reference=away), turns=False)
    agree(Answering(opened.tokenizer, opened.decoder), wanted, DESIGN if away else CLOSE)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text("ab T.\n<s>", min_size=1, max_size=12), st.text("ab T.\n<s>", min_size=1, max_size=9)
)
def test_texts_are_parted_as_theirs_are(
    theirs: Theirs, numpy_: Answering, context: str, continuation: str
) -> None:
    if not context.strip():
        return  # an AssertionError there
    encode = theirs.theirs._encode_pair
    pair, want = numpy_.pair(context, continuation), encode(context, continuation)
    assert pair.context == want[0]
    assert pair.continuation == want[1] or not want[1]  # which is another one there


@pytest.mark.parametrize("name", ["llama-2", "llama-3", "phi-3", "mistral", "internlm2"])
def test_real_vocabularies_part_texts_as_theirs_do(name: str, assets: Path) -> None:
    """lm-evaluation-harness#4012: what other backends of the harness got wrong."""
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    folder = assets / "tokenizers" / name
    theirs = HFLM.__new__(HFLM)
    theirs.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    theirs.add_bos_token = theirs.custom_prefix_token_id = None
    ours = Answering(Tokenizer.load(folder), None)  # type: ignore[arg-type]
    assert ours.tokenizer.prefix_id == theirs.prefix_token_id
    # The class that the checkpoint names adds BOS by a flag, which this general one does not know.
    lead = ours.encode("a")[: len(ours.encode("a")) - len(theirs.tok_encode("a"))]
    assert lead in ([], [ours.tokenizer.bos_id])
    for context, continuation in PAIRS:
        begins = [] if context.startswith("<s>") else lead
        if context:
            first, second = theirs._encode_pair(context, continuation)
            assert ours.pair(context, continuation) == ([*begins, *first], second)
        for text in filter(None, (context, continuation)):
            own = [] if text.startswith("<s>") else lead
            assert ours.encode(text) == [*own, *theirs.tok_encode(text)]


@given(st.text("ab T.", max_size=80), st.integers(2, 9))
def test_windows_are_theirs(text: str, size: int) -> None:
    ours = Answering(Tokenizer.load(STORIES), Sized(size))  # type: ignore[arg-type]
    ids = ours.encode(text)
    made = get_rolling_token_windows(ids, prefix_token=1, max_seq_len=size, context_len=1)
    assert [tuple(pair) for pair in ours.windows(text)] == [*map(make_disjoint_window, made)]


def test_what_does_not_fit_is_cut_as_theirs_is(tmp_path: Path) -> None:
    """lm-evaluation-harness#2253: at the border, and beyond."""
    theirs = Theirs(STORIES, max_length=24)
    made = converted(tmp_path / "it", STORIES, context=24)
    opened = load(made, exact=True, turns=False)
    ours = Answering(opened.tokenizer, opened.decoder)
    text = (
        "Once upon a time there was a dog and a red kite and a boat and a hat and a ball and a girl"
    )
    pairs = [(text[:at], " and Tom had a kite.") for at in range(20, len(text))]
    sizes = [len(ids) + len(more) for ids, more in (ours.pair(*both) for both in pairs)]
    assert {23, 24, 25, 26} <= set(sizes)
    want = theirs.loglikelihood(asking("loglikelihood", *pairs))
    found = ours.likelihoods(pairs)
    assert [row.nats for row in found] == pytest.approx([row[0] for row in want], rel=CLOSE)
    assert ours.counts.cut == sum(size > 25 for size in sizes) > 0
    rolled = theirs.loglikelihood_rolling(asking("loglikelihood_rolling", (text * 3,)))
    assert ours.rolling([text * 3]) == pytest.approx(rolled, rel=CLOSE)
    wish = {"until": ["."], "max_gen_toks": 8}
    said = theirs.generate_until(asking("generate_until", (text, wish)))
    assert [ours.continued(text, How(until=("."), max_tokens=8))] == said


def test_an_adapter_is_asked_with_its_model(tmp_path: Path) -> None:
    """Beside PEFT's, whole: with `peft=` the harness cuts the vocabulary to the tokenizer's."""
    fields = {"r": 4, "target_modules": ["down_proj", "o_proj"]}
    model = adapting.saved(tmp_path / "adapter", STORIES, **fields)
    theirs = Theirs(STORIES, pretrained=model.merge_and_unload(), tokenizer=str(STORIES))
    made = converted(tmp_path / "it", STORIES)
    opened = load(made, exact=True, turns=False, adapter=tmp_path / "adapter")
    found = Answering(opened.tokenizer, opened.decoder).likelihoods(PAIRS)
    want = theirs.loglikelihood(asking("loglikelihood", *PAIRS))
    assert [row.nats for row in found] == pytest.approx([row[0] for row in want], rel=CLOSE)
    without = load(made, exact=True, turns=False)
    plain = Answering(without.tokenizer, without.decoder).likelihoods(PAIRS)
    assert [row.nats for row in plain] != pytest.approx([row[0] for row in want], rel=0.05)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.everything(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("onnx") / "it", STORIES)


@pytest.mark.parametrize(
    ("tasks", "more"),
    [
        (("arc_easy", "piqa", "lambada_openai", "wikitext"), {}),
        (("arc_easy", "gsm8k"), {"shots": 2, "limit": 3}),
        (("gsm8k", "arc_easy"), {"shots": 1, "limit": 2, "chat": True}),
        (("piqa",), {"limit": 1}),  # of one question there is no standard error
    ],
)
def test_whole_tasks_have_the_figures_that_theirs_have(
    tasks: tuple[str, ...], more: dict[str, Any], theirs: Theirs, data: Path, onnx: Path
) -> None:
    asked = Asked(tasks=tasks, data=data, **more)
    opened = load(onnx, exact=True, turns=False)
    answering = Answering(opened.tokenizer, opened.decoder)
    ours = measure(asked, lambda: HarnessModel(answering, opened.template))
    want = measure(asked, lambda: theirs)
    figures = [
        {
            (name, key): value
            for name in tasks
            for key, value in row["tasks"][name].pop("metrics").items()
        }
        for row in (ours, want)
    ]
    assert any(figures[0].values())
    assert figures[0] == {
        key: value and pytest.approx(value, rel=1e-3) for key, value in figures[1].items()
    }
    assert ours["tasks"] == want["tasks"]
    assert all(row["questions"] == more.get("limit", row["of"]) for row in ours["tasks"].values())
    assert (ours["data"], ours["seed"]) == (want["data"], 1234)


def test_a_group_has_the_figure_of_its_tasks(data: Path, onnx: Path, tmp_path: Path) -> None:
    """Its own files make it: the tag `ai2_arc` is two tasks, one of which has no data here."""
    opened = load(onnx, turns=False)
    answering = Answering(opened.tokenizer, opened.decoder)
    with pytest.raises(
        EdgeError, match=r"the task arc_challenge needs the split test .*ARC-Challenge/test\.jsonl"
    ):
        measure(Asked(tasks=("ai2_arc",), data=data), lambda: HarnessModel(answering))
    assert answering.counts.requests == 0, "before the model was asked anything"


@pytest.mark.parametrize("generate", [True, False])
def test_chat_templates_are_rendered_as_theirs_are(theirs: Theirs, generate: bool) -> None:
    """Without a prompt for the next turn, the last one is to go on."""
    ours = HarnessModel(theirs.answering, ChatTemplate.load(STORIES))
    turns = [{"role": "user", "content": "Who has the kite?"}]
    turns += [] if generate else [{"role": "assistant", "content": "The kite is"}]
    text = ours.apply_chat_template(turns, add_generation_prompt=generate)
    assert text == theirs.apply_chat_template(turns, add_generation_prompt=generate)
    assert text.endswith("<|assistant|>\n" if generate else "The kite is")


def test_examples_in_a_chat_are_turns_of_their_own(data: Path) -> None:
    class Listening(HarnessModel):
        def loglikelihood(self, requests: Sequence[Instance]) -> Any:
            heard.extend(request.args[0] for request in requests)
            return [(-1.0, False)] * len(requests)

    heard: list[str] = []
    plain = Answering(Tokenizer.load(STORIES), Sized(2048))  # type: ignore[arg-type]
    asked = Asked(tasks=("arc_easy",), data=data, shots=2, limit=1, chat=True)
    measure(asked, lambda: Listening(plain, ChatTemplate.load(STORIES)))
    assert {context.count("<|user|>") for context in heard} == {3}
    assert {context.count("<|assistant|>") for context in heard} == {3}


def test_what_a_task_says_of_answers() -> None:
    assert how({"until": "x"}, 3).until == ("x",)
    assert how(
        {"until": ["x"], "max_new_tokens": 7, "do_sample": False, "temperature": 0.7}, 3
    ) == How(until=("x",), max_tokens=7)
    drawn = how({"do_sample": True, "temperature": 0.5, "top_p": 0.9}, 3).sampling
    assert (drawn.temperature, drawn.top_p, drawn.seed) == (0.5, 0.9, 3)
    assert how({"temperature": 0.5}, 3).sampling.temperature == 0.5
    assert how({"do_sample": True}, 3).sampling.temperature == 1
    assert how({"num_beams": 1}, 3) == How(max_tokens=256)
    for wish in ({"num_beams": 3}, {"penalty_alpha": 0.6}):
        with pytest.raises(Unsupported, match=f"answers with {next(iter(wish))}"):
            how(wish, 3)


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("arc_esay", "has no task 'arc_esay', but arc_easy"),
        ("./arc_easy.yaml", "has no task './arc_easy.yaml'"),
        ("humaneval", "humaneval .*whose code the library evaluate would fetch|runs code"),
        ("mmmu_val", "shows pictures|needs the"),
        ("squadv2", "squadv2 needs the split test of lighteval/squad_v2"),
        ("coqa", "coqa (needs the split|cannot be asked)"),
    ],
)
def test_what_edge_does_not_ask_is_refused_by_name(task: str, problem: str, data: Path) -> None:
    def never() -> HarnessModel:
        raise AssertionError("the model was opened")

    with pytest.raises(EdgeError, match=problem):
        measure(Asked(tasks=(task,), data=data), never)


def test_what_would_be_fetched_only_to_judge_is_refused_beforehand(tmp_path: Path) -> None:
    """After hours of answers, otherwise."""
    row = {"id": "1", "title": "Kites", "context": "Tom has a kite.", "question": "Who has a kite?"}
    row |= {"answers": {"text": ["Tom"], "answer_start": [0]}}
    made_up.write(tmp_path / "lighteval/squad_v2/validation.jsonl", [row] * 2)

    def never() -> HarnessModel:
        raise AssertionError("the model was opened")

    with pytest.raises(Unsupported, match="squadv2 is judged by squad_v2, whose code"):
        measure(Asked(tasks=("squadv2",), data=tmp_path), never)


def test_tasks_find_the_randomness_that_the_harness_sets_and_leave_the_users() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()
    with benchmarks._settled():
        assert random.random() == random.Random(0).random()
        assert np.random.rand() == np.random.RandomState(1234).rand()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_rehearsal_changes_no_figure(data: Path, onnx: Path) -> None:
    """Of a task that has code of its own, whose examples are drawn."""
    rows = [{"page": f" = Kite {number} = \n Tom has a kite . "} for number in range(3)]
    made_up.write(data / made_up.WIKITEXT / "train.jsonl", rows)
    opened = load(onnx, exact=True, turns=False)
    answering = Answering(opened.tokenizer, opened.decoder)
    asked = Asked(tasks=("wikitext",), data=data)
    first = measure(asked, lambda: HarnessModel(answering))["tasks"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "_rehearse", lambda *_: None)
        assert measure(asked, lambda: HarnessModel(answering))["tasks"] == first
