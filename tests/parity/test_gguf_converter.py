"""Files equal to those of llama.cpp's own converter: tensors bit for bit, keys one by one.

The converter is in llama.cpp's sources, which llama-cpp-python's source distribution holds under
vendor/llama.cpp: unpack it and name the folder in `EDGE_LLAMA_CPP`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.qwen2 import SPLIT
from support import converted, tiny

from edge.gguf.reader import GGUFFile

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

FOLDER = os.environ.get("EDGE_LLAMA_CPP", "")
SCRIPT = Path(FOLDER) / "convert_hf_to_gguf.py"
TYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "q8_0": "q8_0"}
HALF = {"short_factor": [1.0 + i / 8 for i in range(8)], "long_factor": [2.0 + i for i in range(8)]}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# name -> family, its tokenizer in the shared data, architecture, changes to its tiny config
CASES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "llama-2": ("llama", "llama-2", "LlamaForCausalLM", {"vocab_size": 32000}),
    "vicuna": ("llama", "llama-2", "LlamaForCausalLM", {"vocab_size": 32016 - 8}),
    "llama-3.1": (
        "llama",
        "llama-3",
        "LlamaForCausalLM",
        {
            "vocab_size": 128256,
            "rope_scaling": LLAMA3,
            "tie_word_embeddings": True,
            "eos_token_id": 128001,
        },
    ),
    "mistral": (
        "mistral",
        "llama-2",
        "MistralForCausalLM",
        {"vocab_size": 32000, "sliding_window": None},
    ),
    "phi3-4k": (
        "phi3",
        "phi-3",
        "Phi3ForCausalLM",
        {
            "vocab_size": 32064,
            "sliding_window": None,
            "original_max_position_embeddings": 64,
            "eos_token_id": 32000,
        },
    ),
    "phi3-128k": (
        "phi3",
        "phi-3",
        "Phi3ForCausalLM",
        {
            "vocab_size": 32064,
            "sliding_window": 4096,
            "original_max_position_embeddings": 16,
            "rope_scaling": {"type": "longrope", **HALF},
            "eos_token_id": 32000,
        },
    ),
    "internlm2": ("internlm2", "internlm2", "InternLM2ForCausalLM", {"vocab_size": 92544}),
    "openelm": ("openelm", "llama-2", "OpenELMForCausalLM", {"vocab_size": 32000}),
    "llama, biases": (
        "llama",
        "llama-2",
        "LlamaForCausalLM",
        {"vocab_size": 32000, "attention_bias": True, "mlp_bias": True},
    ),
    "qwen2": (
        "qwen2",
        "qwen2",
        "Qwen2ForCausalLM",
        {"vocab_size": 151936, "tie_word_embeddings": True, "eos_token_id": 151645},
    ),
    "qwen3": (
        "qwen3",
        "qwen2",
        "Qwen3ForCausalLM",
        {"vocab_size": 151936, "rope_theta": 1e6, "eos_token_id": 151645},
    ),
}
MATRIX = [(case, "fp32") for case in CASES]
MATRIX += [("llama-2", quant) for quant in TYPES if quant != "fp32"] + [("phi3-4k", "q8_0")]

# Keys that only the other converter writes, and why ours does not.
LACKING = {
    "general.size_label": "only names files",
    "tokenizer.ggml.add_sep_token": "false, for pairs of texts, which no decoder has",
}
# Keys that only ours writes: each says what llama.cpp takes for granted where it is missing.
EXTRA = {
    "vocab_size": "the rows of the table",
    "attention.key_length": "the width over the heads",
    "attention.value_length": "the same",
    "rope.dimension_count": "the head's width",
    "tokenizer.ggml.add_space_prefix": "true for SentencePiece",
    "tokenizer.ggml.add_bos_token": "true for SentencePiece",
    "tokenizer.ggml.add_eos_token": "false",
    "tokenizer.ggml.bos_token_id": "1",
    "tokenizer.ggml.unknown_token_id": "0",
    "tokenizer.ggml.padding_token_id": "none",
}
# Keys with another value, and why.
OTHER: dict[str, Callable[[str, Any, Any], bool]] = {
    # The folder's name as it is, not with a capital.
    "general.name": lambda _, ours, theirs: ours == theirs.lower(),
    # Answers end at <|im_end|> by its text: a base model's texts still end at </s>.
    "tokenizer.ggml.eos_token_id": lambda case, ours, theirs: (
        (case, ours, theirs) == ("internlm2", 2, 92542)
    ),
    # What SentencePiece matches whole stays so: 4, not 1.
    "tokenizer.ggml.token_type": lambda case, ours, theirs: (
        case == "internlm2"
        and {(a, b) for a, b in zip(ours, theirs, strict=True) if a != b} == {(4, 1)}
    ),
}


def source(folder: Path, case: str, assets: Path) -> Path:
    family, tokenizer, architecture, changes = CASES[case]
    # From names in several words the other converter makes keys, and llama.cpp wants "phi3" in some.
    name = "tinyphi3" if tokenizer == "phi-3" else "tiny"
    made = tiny(folder / name, family, architectures=[architecture], **changes)
    if tokenizer == "qwen2":
        qwen2_tokenizer(made)
        return made
    for file in (assets / "tokenizers" / tokenizer).iterdir():
        shutil.copyfile(file, made / file.name)
    if case == "internlm2":
        _without_images(made)
    return made


def qwen2_tokenizer(folder: Path) -> None:
    """The published tokenizer's pieces and merges, which llama.cpp's sources hold as keys, in the form in
    which they were published.
    """
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(Path(FOLDER) / "models" / "ggml-vocab-qwen2.gguf").fields
    words, kinds, merges = (
        fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")
    )
    control = [i for i, kind in enumerate(kinds) if kind == 3]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    definition = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": words[i], "special": True, **flags} for i in control],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, {**level, "use_regex": False}],
        },
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {word: i for i, word in enumerate(words) if kinds[i] == 1},
            "merges": merges,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "bos_token": None,
        **names,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _without_images(folder: Path) -> None:
    """The shared tokenizer is InternVL2's, whose tokens for images InternLM2 has not."""
    (folder / "added_tokens.json").unlink()
    (folder / "special_tokens_map.json").unlink()
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    tokens = config["added_tokens_decoder"].items()
    config["added_tokens_decoder"] = {key: token for key, token in tokens if int(key) < 92544}
    config.pop("additional_special_tokens", None)
    file.write_text(json.dumps(config))


def theirs(folder: Path, checkpoint: Path, quant: str) -> Path:
    out = folder / "theirs.gguf"
    command = [sys.executable, str(SCRIPT), str(checkpoint), "--outfile", str(out)]
    done = subprocess.run(
        [*command, "--outtype", TYPES[quant]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.skipif(not SCRIPT.is_file(), reason="EDGE_LLAMA_CPP names no sources of llama.cpp")
@pytest.mark.parametrize(("case", "quant"), MATRIX)
def test_a_file_is_that_of_llama_cpps_own_converter(
    case: str, quant: str, tmp_path: Path, assets: Path
) -> None:
    checkpoint = source(tmp_path, case, assets)
    artifact = converted(tmp_path / "ours", checkpoint, quant, target="gguf")
    other = theirs(tmp_path, checkpoint, quant)
    with GGUFFile(artifact / "model.gguf") as ours, GGUFFile(other) as reference:
        same_keys(case, ours, reference)
        assert set(ours.tensors) == set(reference.tensors)
        for name, tensor in reference.tensors.items():
            found = ours.tensors[name]
            assert (found.kind, found.shape) == (tensor.kind, tensor.shape), name
            stored = [file.raw(name, 0, tensor.rows) for file in (ours, reference)]
            np.testing.assert_array_equal(*stored, err_msg=name)


def same_keys(case: str, ours: GGUFFile, theirs: GGUFFile) -> None:
    at = f"{theirs['general.architecture']}."
    assert set(theirs) - set(ours) <= set(LACKING)
    assert {key.removeprefix(at) for key in set(ours) - set(theirs)} <= set(EXTRA)
    for key in set(ours) & set(theirs):
        assert ours.kind(key) == theirs.kind(key), key
        if ours[key] != theirs[key]:
            assert key in OTHER, key
            assert OTHER[key](case, ours[key], theirs[key]), key
