"""Logits of every family equal those of their own publishers' code: transformers, or the paper's loops.

Tiny random checkpoints, written by transformers itself: one test proves config, names, transforms and
maths at once. As one prompt, in chunks, and token by token past the window.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references
from support import CONFIGS, VOCAB, checkpoint, config_of, converted, spec_of, weights_of

from edge import targets
from edge.contracts import Opening
from edge.protocols import Decoder
from edge.quant import recipe as recipes
from edge.source.checkpoint import Checkpoint

RNG = np.random.default_rng(7)
IDS = [int(i) for i in RNG.integers(0, VOCAB, 40)]
CHUNKS = (17, 1, 11, 11)
TOLERANCE = 1e-4  # of the largest logit


@dataclass(frozen=True)
class Case:
    """A config class of transformers, and what makes this one what it is."""

    name: str
    kind: str  # Llama, Mistral, Phi3
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def rope(theta: float = 1e4, kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": theta, "rope_type": kind, **more}}


LLAMA3 = rope(
    5e5,
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
CASES = [
    Case("llama-2", "Llama", {"num_key_value_heads": 4}),
    Case("llama-3", "Llama", rope(5e5)),
    Case("llama-3.1", "Llama", LLAMA3),
    Case("llama-3.2", "Llama", {**LLAMA3, "tie_word_embeddings": True}),
    Case("vicuna", "Llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-6}),
    Case("mistral-v0.1", "Mistral", {"sliding_window": 9}),
    Case("mistral-v0.2", "Mistral", {"sliding_window": None, **rope(1e6)}),
    Case("phi-3-mini", "Phi3", {"num_key_value_heads": 4, "sliding_window": 9}),
    Case("phi-3-medium", "Phi3", {"sliding_window": 21}),
    Case("phi-3-partial-8", "Phi3", rope(partial_rotary_factor=0.5)),
    Case("phi-3-partial-16", "Phi3", {"num_attention_heads": 2, **rope(partial_rotary_factor=0.5)}),
    Case("heads-of-8", "Llama", {"num_attention_heads": 8}),
    Case("heads-of-24", "Llama", {"head_dim": 24}),
    Case("heads-of-32", "Llama", {"num_attention_heads": 2, "num_key_value_heads": 1}),
]


@dataclass(frozen=True)
class Made:
    """A checkpoint on disk, its fp32 artifact, and the logits of its own code: [T, V]."""

    source: Path
    artifact: Path
    logits: np.ndarray


def transformers_logits(case: Case, folder: Path) -> np.ndarray:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    common = {key: value for key, value in CONFIGS["llama"].items() if key != "rope_theta"}
    del common["model_type"]
    config = getattr(transformers, case.kind + "Config")(
        **{**common, "pad_token_id": 0, "initializer_range": 0.15, **case.fields}
    )
    torch.manual_seed(0)
    model = getattr(transformers, case.kind + "ForCausalLM")._from_config(
        config, attn_implementation="eager"
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:  # ones and zeros would hide a norm or a bias that is not applied
                weight.copy_(("norm" in name) + 0.2 * torch.randn_like(weight))
        logits = model.eval()(torch.tensor([IDS])).logits[0].numpy()
    model.save_pretrained(folder)
    return logits


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(request.param, tmp_path_factory.mktemp("family"))


def make(case: Case, folder: Path) -> Made:
    logits = transformers_logits(case, folder / "source")
    return Made(folder / "source", converted(folder / "artifact", folder / "source"), logits)


def opened(made: Made, runtime: str) -> Decoder:
    found = Checkpoint.open(made.source)
    if runtime == "reference":
        return targets.oracle().oracle(found, recipes.parse("fp32"))
    target, _, twin = runtime.partition("-")
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    folder = made.artifact if target == "onnx" else made.source.with_name(target)
    if not folder.exists():
        converted(folder, made.source, target=target)
    with found:
        return targets.runtime(target).open(
            Opening(folder, found.spec, threads=1, exact=twin == "exact")
        )


def agree(got: Sequence[np.ndarray] | np.ndarray, want: np.ndarray) -> None:
    difference = np.abs(np.stack(list(got)) - want).max()
    assert difference / np.abs(want).max() <= TOLERANCE


RUNTIMES = ("reference", "onnx", "onnx-exact", "torch")


@pytest.fixture(params=RUNTIMES)
def decoder(made: Made, request: pytest.FixtureRequest) -> Decoder:
    return opened(made, request.param)


def test_one_prompt(made: Made, decoder: Decoder) -> None:
    agree(decoder.score(IDS), made.logits)
    decoder.rewind(0)
    agree([decoder.prefill(IDS)], made.logits[-1:])


def test_chunks(made: Made, decoder: Decoder) -> None:
    ends = np.cumsum(CHUNKS)
    got = [
        decoder.prefill(IDS[end - size : end]).copy()
        for end, size in zip(ends, CHUNKS, strict=True)
    ]
    agree(got, made.logits[ends - 1])


def test_token_by_token(made: Made, decoder: Decoder) -> None:
    """Past every window here; the first five come as a prompt."""
    got = [decoder.prefill(IDS[:5]).copy(), *(decoder.step(token).copy() for token in IDS[5:])]
    agree(got, made.logits[4:])


@pytest.mark.parametrize("spelling", ["type", "rope_type"])
def test_older_configs_mean_the_same(made: Made, spelling: str) -> None:
    """transformers 4 wrote rope_theta and rope_scaling, and the kind under either key."""
    config = json.loads((made.source / "config.json").read_text())
    new = spec_of(config)
    table = config.pop("rope_parameters")
    config["rope_theta"] = table.pop("rope_theta")
    kind = table.pop("rope_type")
    if "partial_rotary_factor" in table:
        config["partial_rotary_factor"] = table.pop("partial_rotary_factor")
    config["rope_scaling"] = None if kind == "default" else {spelling: kind, **table}
    assert "rope_parameters" not in config
    assert spec_of(config) == new


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mistral-v0.1", {"sliding_window": 10}),
        ("phi-3-mini", {"sliding_window": None}),
        ("llama-3", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}),
        ("llama-3.1", {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
        ("phi-3-partial-8", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}),
        ("vicuna", {"rms_norm_eps": 1e-3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_proof_can_fail(tmp_path: Path, name: str, change: dict[str, Any]) -> None:
    """With one number of the config changed, the logits are no longer equal."""
    case = next(case for case in CASES if case.name == name)
    made = make(case, tmp_path)
    file = made.source / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    got = opened(made, "reference").score(IDS)
    assert np.abs(got - made.logits).max() / np.abs(made.logits).max() > 10 * TOLERANCE


@pytest.fixture(scope="module")
def openelm(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("openelm")
    config = config_of("openelm")
    weights = weights_of(config)
    source = checkpoint(folder / "source", config, weights)
    return Made(
        source, converted(folder / "artifact", source), references.openelm(config, weights, IDS)
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_openelm_is_the_paper(openelm: Made, runtime: str) -> None:
    decoder = opened(openelm, runtime)
    test_one_prompt(openelm, decoder)
    decoder.rewind(0)
    test_chunks(openelm, decoder)
    decoder.rewind(0)
    test_token_by_token(openelm, decoder)
