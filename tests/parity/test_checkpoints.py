"""Folders as tools really leave them: which tensors and which files transformers takes, edge takes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from support import checkpoint, config_of, converted, safetensors, weights_of

from edge import targets
from edge.artifact.manifest import Artifact
from edge.errors import Damaged
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CONFIG = config_of("llama", tie_word_embeddings=True)
BODY = {name: weight for name, weight in weights_of(CONFIG).items() if name != EMBED}
ONE, OTHER = (np.random.default_rng(s).normal(size=(97, 64)).astype("f4") / 8 for s in (1, 2))
LATE = np.concatenate((ONE[:-1], OTHER[-1:]))  # another last row
SHORT = (ONE.view("u4") >> 16).astype("u2")  # the same matrix in bfloat16
TIED: Mapping[str, Mapping[str, np.ndarray]] = {
    "embedding alone": {EMBED: ONE},
    "head alone": {HEAD: ONE},
    "a repeat": {EMBED: ONE, HEAD: ONE},
    "a head of its own": {EMBED: ONE, HEAD: OTHER},
    "another last row": {EMBED: ONE, HEAD: LATE},
    "a rounded head": {EMBED: ONE, HEAD: SHORT},
}
IDS = list(range(40))


def theirs(folder: Path) -> np.ndarray:
    """Logits of transformers [T, V], in float32."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


def ours(folder: Path) -> np.ndarray:
    with Checkpoint.open(folder) as found:
        return targets.oracle().oracle(found, recipes.parse("fp32")).score(IDS)


def equal(folder: Path) -> None:
    want = theirs(folder)
    assert np.abs(ours(folder) - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("kind", TIED)
def test_tied_heads(tmp_path: Path, kind: str) -> None:
    equal(checkpoint(tmp_path / "it", CONFIG, {**BODY, **TIED[kind]}))


@pytest.mark.parametrize("target", ["onnx", "mlx", "gguf", "torch"])
@pytest.mark.parametrize("kind", ["head alone", "a head of its own"])
def test_tied_heads_on_every_target(tmp_path: Path, kind: str, target: str) -> None:
    """Proved, and far from what the embedding would say as the head."""
    pytest.importorskip({"onnx": "onnxruntime", "gguf": "llama_cpp"}.get(target, target))
    source = checkpoint(tmp_path / "it", CONFIG, {**BODY, **TIED[kind]})
    artifact = Artifact.open(converted(tmp_path / "out", source, target=target))
    assert artifact.manifest.spec.tied == (kind == "head alone")
    assert verify(artifact, source, tokens=8).passed
    got = opening.open_decoder(artifact, threads=None, exact=True).prefill(IDS)
    want = theirs(source)[-1]
    assert np.abs(got - want).max() <= 5e-3 * np.abs(want).max()  # llama.cpp's cache is in fp16


def test_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=EMBED):
        Checkpoint.open(checkpoint(tmp_path / "it", CONFIG, BODY))


def test_a_single_file_comes_before_an_index(tmp_path: Path) -> None:
    config = config_of("llama")
    folder = checkpoint(tmp_path / "it", config, weights_of(config))
    alone = theirs(folder)
    others, shard = weights_of(config, seed=1), "model-00001-of-00001.safetensors"
    (folder / shard).write_bytes(safetensors(others))
    index = {"metadata": {}, "weight_map": dict.fromkeys(others, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(theirs(folder), alone)
    equal(folder)


@pytest.mark.parametrize("at", ["", "model.", "model.layers.1.self_attn."])
def test_old_buffers_are_no_weights(tmp_path: Path, at: str) -> None:
    config = config_of("llama")
    buffer = {f"{at}rotary_emb.inv_freq": np.ones(8, np.float32)}
    equal(checkpoint(tmp_path / "it", config, weights_of(config) | buffer))
