"""What a spec and a tokenizer become in a GGUF file, and what is refused, without llama.cpp."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentencepieces import letters, trained
from support import config_of, spec_of

from edge.errors import Damaged, Unsupported
from edge.families import architectures, families
from edge.gguf import tokens, vocabulary
from edge.gguf.architectures import architecture, check, longest, places, stacks
from edge.gguf.keys import of_spec, rope_tensors
from edge.gguf.text import read_text
from edge.names import shapes
from edge.spec import (
    MATRICES,
    BlockSparse,
    DynamicNtk,
    Llama3Scaling,
    LongRope,
    MatrixName,
    Norm,
    Rope,
)
from edge.text import pieces
from edge.text.vocabulary import complete

LLAMA, PHI3 = architecture("llama"), architecture("phi3")
SPEC = spec_of(config_of("llama"))


@pytest.mark.parametrize("family", ["llama", "internlm2", "phi3", "openelm"])
def test_every_row_of_every_weight_has_one_place(family: str) -> None:
    """No two rows lie in one place, and every row of every tensor is of a weight."""
    spec, arch = spec_of(config_of(family)), architecture(family)
    taken: dict[str, list[int]] = {}
    for name, found in places(spec, arch, head=False).items():
        for place in found:
            height = shapes(spec)[name][0]
            order = np.arange(height) if place.order is None else place.order
            taken.setdefault(place.tensor, []).extend((place.first + order).tolist())
    for tensor, stacked in stacks(spec, arch, head=False).items():
        assert sorted(taken.pop(tensor)) == list(range(stacked.shape[0]))
    assert not taken


def test_a_head_that_rotates_neighbours_has_its_halves_interleaved() -> None:
    (place,) = places(SPEC, LLAMA, head=False)["layers.0.attn.q"]
    assert place.order is not None
    assert place.order[:16].tolist() == [*range(0, 16, 2), *range(1, 16, 2)]
    assert place.order[16] == 16
    assert places(spec_of(config_of("phi3")), PHI3, head=False)["layers.0.attn.q"][0].order is None


def test_a_tied_table_may_lie_twice() -> None:
    spec = replace(SPEC, tied=True)
    assert [place.tensor for place in places(spec, LLAMA, head=True)["embed"]] == [
        "token_embd.weight",
        "output.weight",
    ]
    assert len(places(spec, LLAMA, head=False)["embed"]) == 1


LAYER = SPEC.layers[0]
LONG = LongRope(
    short=(1.0,) * 8, long=(2.0,) * 8, short_attention=1.1, long_attention=1.1, original_context=32
)
UNFIT: dict[str, Any] = {
    "layer norm": {"norm": Norm(eps=1e-5, kind="layer")},
    "scaled embedding": {"embed_scale": 2.0},
    "scaled logits": {"logit_scale": 2.0},
    "forbidden ids": {"forbidden": (3,)},
    "rotation of a part of a head": {"rope": Rope(theta=1e4, width=8)},
    "rotary scaling of the kind LongRope": {"rope": Rope(theta=1e4, width=16, scaling=LONG)},
    "heads of several widths": {"layers": (LAYER, replace(LAYER, head_width=32))},
    "gate of the kind gegelu": {"layers": (replace(LAYER, gate="gegelu"),)},
    "scale of scores": {"layers": (replace(LAYER, score_scale=0.1),)},
    "norm of queries and keys": {"layers": (replace(LAYER, qk_norm=1e-5),)},
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_a_graph_lacks_is_refused_by_name(what: str) -> None:
    check(SPEC, LLAMA)
    with pytest.raises(Unsupported, match=f"'llama' has no .*{what}"):
        check(replace(SPEC, **UNFIT[what]), LLAMA)


def test_a_name_that_a_family_has_in_llama_cpp_has_a_row() -> None:
    named = {family.known_as["gguf"] for family in families() if "gguf" in family.known_as}
    assert named == architectures().keys()
    assert len(named) >= 6


@pytest.mark.parametrize(
    ("arch", "biases", "lacking"),
    [
        ("llama", MATRICES, None),
        ("qwen2", ("attn.q", "attn.v"), None),
        ("qwen2", ("attn.q", "attn.o"), "bias of attn.o"),
        ("phi3", ("attn.q", "attn.k", "attn.v"), None),
        ("phi3", ("attn.q", "attn.k"), "attn_qkv of which some have biases"),
        ("phi3", ("mlp.gate", "mlp.up"), "bias of mlp.gate, bias of mlp.up"),
        ("openelm", ("attn.q",), "bias of attn.q"),
    ],
)
def test_a_graph_adds_the_biases_of_its_row(
    arch: str, biases: tuple[MatrixName, ...], lacking: str | None
) -> None:
    known = architecture(arch)
    spec = replace(SPEC, tied=known.head == "embed")
    layer = replace(LAYER, biases=biases, qk_norm=1e-5 if known.qk_norm else None)
    biased = replace(spec, layers=(layer,) * 2)
    if lacking is None:
        check(biased, known)
        return
    with pytest.raises(Unsupported, match=f"{arch!r} has no {lacking}"):
        check(biased, known)


def test_a_bias_lies_where_its_rows_do() -> None:
    """Stacked as its weights are, and in the order of their rows."""
    layer = replace(LAYER, biases=("attn.q", "attn.k", "attn.v"))
    found = places(replace(SPEC, layers=(layer,) * 2), PHI3, head=False)
    for name in ("layers.1.attn.q", "layers.1.attn.k", "layers.1.attn.v"):
        (weight,), (bias,) = found[name], found[f"{name}.bias"]
        assert (weight.tensor, bias.tensor) == ("blk.1.attn_qkv.weight", "blk.1.attn_qkv.bias")
        assert weight.first == bias.first
    turned = places(replace(SPEC, layers=(layer,) * 2), LLAMA, head=False)
    (weight,), (bias,) = (turned[f"layers.0.attn.k{end}"] for end in ("", ".bias"))
    assert weight.order is not None
    assert bias.order is not None
    assert weight.order.tolist() == bias.order.tolist()
    assert turned["layers.0.attn.v.bias"][0].order is None


def test_other_graphs_lack_other_things() -> None:
    wide = replace(
        SPEC, layers=(replace(LAYER, head_width=32),) * 2, rope=Rope(theta=1e4, width=32)
    )
    check(wide, LLAMA)
    with pytest.raises(Unsupported, match="together not as wide"):
        check(wide, PHI3)
    uneven = replace(LONG, long_attention=1.2)
    check(replace(SPEC, rope=Rope(theta=1e4, width=16, scaling=LONG)), PHI3)
    with pytest.raises(Unsupported, match="attention factors that differ"):
        check(replace(SPEC, rope=Rope(theta=1e4, width=16, scaling=uneven)), PHI3)
    elm, arch = spec_of(config_of("openelm")), architecture("openelm")
    with pytest.raises(Unsupported, match="head of its own"):
        check(replace(elm, tied=False), arch)
    with pytest.raises(Unsupported, match="epsilon of their own"):
        check(replace(elm, norm=Norm(eps=1e-5)), arch)
    bare = tuple(replace(layer, qk_norm=None) for layer in elm.layers)
    with pytest.raises(Unsupported, match="queries and keys without a norm"):
        check(replace(elm, layers=bare), arch)
    with pytest.raises(Unsupported, match="none that edge knows"):
        architecture("qwen9")


def test_what_llama_cpp_ignores_ends_the_context() -> None:
    assert longest(SPEC) == SPEC.context == 64
    windows = tuple(
        replace(layer, window=n) for layer, n in zip(SPEC.layers, (20, 11), strict=True)
    )
    assert longest(replace(SPEC, layers=windows)) == 11
    grows = Rope(theta=1e4, width=16, scaling=DynamicNtk(factor=2.0, original_context=40))
    assert longest(replace(SPEC, rope=grows)) == 40
    sparse = replace(LAYER, sparse=BlockSparse(block=4, local=3))
    assert longest(replace(SPEC, layers=(sparse,))) == 12


def test_lists_are_written_where_layers_differ_or_always() -> None:
    same = of_spec(SPEC, LLAMA)["llama.attention.head_count"]
    assert same.value == 4
    differ = replace(SPEC, layers=(LAYER, replace(LAYER, heads=8)))
    assert of_spec(differ, LLAMA)["llama.attention.head_count"].value == [4, 8]
    elm = of_spec(spec_of(config_of("openelm")), architecture("openelm"))
    assert elm["openelm.feed_forward_length"].value == [32, 96, 128]


# Divisors of Llama 3.1 8B and 3.2 1B, as their published files have them, to six digits.
DIVISORS = {
    (128, 8.0): {29: 1.207484, 30: 1.553415, 31: 2.026313, 32: 2.69453, 33: 3.684253, 34: 5.257327},
    (64, 32.0): {15: 1.651329, 16: 3.292262, 17: 9.666729},
}


@pytest.mark.parametrize(("width", "factor"), DIVISORS)
def test_factors_of_llama_3(width: int, factor: float) -> None:
    scaling = Llama3Scaling(
        factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    )
    (values,) = rope_tensors(Rope(theta=5e5, width=width, scaling=scaling)).values()
    for place, value in enumerate(values.tolist()):
        blended = DIVISORS[width, factor]
        want = blended.get(place, 1.0 if place < min(blended) else factor)
        assert value == pytest.approx(want, rel=1e-6), place


# Tokenizers


def definition(pre: Any, *, ignore_merges: bool = False, normalizer: Any = None) -> dict[str, Any]:
    model = {"type": "BPE", "ignore_merges": ignore_merges, "vocab": {}, "merges": []}
    return {"pre_tokenizer": pre, "model": model, "normalizer": normalizer}


LLAMA3 = next(steps[0] for (steps, _), name in tokens.RULES.items() if name == "llama-bpe")
QWEN2 = next(steps[0] for (steps, _), name in tokens.RULES.items() if name == "qwen2")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def split(pattern: str) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, BYTES]}


WORDS = {"type": "ByteLevel", "add_prefix_space": False}


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (definition(split(LLAMA3), ignore_merges=True), "llama-bpe"),
        (definition(split(LLAMA3)), "smaug-bpe"),
        (definition(split(QWEN2)), "qwen2"),
        (definition(split(QWEN2), normalizer={"type": "NFC"}), "qwen2"),
        (definition(WORDS), "gpt-2"),
        (
            definition(
                {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "Digits", "individual_digits": True}, WORDS],
                }
            ),
            "smollm",
        ),
    ],
)
def test_a_rule_is_found_by_what_it_does(made: dict[str, Any], name: str) -> None:
    assert tokens.rule(made) == name


@pytest.mark.parametrize(
    "made",
    [
        definition(split(LLAMA3 + "|x"), ignore_merges=True),
        definition(split(QWEN2), ignore_merges=True),
        definition({**WORDS, "add_prefix_space": True}),
        definition(None),
        definition({"type": "Whitespace"}),
    ],
)
def test_an_unknown_rule_is_refused_by_what_it_does(made: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="no pre-tokenizer that splits"):
        tokens.rule(made)


@pytest.mark.parametrize(
    "made",
    [
        definition(split(LLAMA3), ignore_merges=True, normalizer={"type": "NFC"}),
        definition(split(QWEN2), normalizer={"type": "NFKC"}),
        definition(split(QWEN2), normalizer={"type": "Sequence", "normalizers": []}),
    ],
)
def test_a_form_that_no_name_stands_for_is_refused(made: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=r"pre-tokenizer .* knows nothing of the normalizer"):
        tokens.rule(made)


@pytest.mark.parametrize(
    ("name", "strips", "complete", "want"),
    [
        ("tiny", False, True, "tiny"),
        ("tiny", True, True, "tiny (phi-3)"),
        ("tiny", True, False, "tiny"),
        ("My-Phi-3-mini", True, True, "My-Phi-3-mini"),
        ("My-Phi3-mini", False, False, "My-phi 3-mini"),
    ],
)
def test_a_name_strips_blanks_as_the_tokenizer_does(
    name: str, strips: bool, complete: bool, want: str
) -> None:
    words = ["<unk>", "<s>", "</s>", "<|endoftext|>"] if complete else ["<s>"]
    added = [{"content": word, "rstrip": False, "special": True} for word in words]
    added.append({"content": "<|end|>", "rstrip": strips, "special": True})
    assert vocabulary._named(name, added) == want


def test_tokens_of_one_text_are_refused(tmp_path: Path) -> None:
    """They would end llama.cpp's process."""
    twins = {"tokenizer.ggml.tokens": tokens.Typed(tokens.STRING, ["a", "b", "a"])}
    with pytest.raises(Unsupported, match="tokens 0 and 2 are both 'a'"):
        vocabulary._no_twins(twins["tokenizer.ggml.tokens"], tmp_path)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    file = {"version": "1.0", "added_tokens": [], "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(Unsupported, match="no tokenizer like this one, of the kind 'WordLevel'"):
        vocabulary.of_folder(tmp_path, 1, "tiny")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"remove_extra_whitespaces": True}, "has nothing like"),
        ({"user_defined_symbols": "<sep>"}, "symbols between which no blank comes"),
        ({"user_defined_symbols": "<sep>", "add_dummy_prefix": False}, None),
        ({"add_dummy_prefix": False}, None),
        ({}, None),
    ],
)
def test_blanks_that_llama_cpp_treats_otherwise_are_refused(
    tmp_path: Path, options: dict[str, Any], problem: str | None
) -> None:
    pytest.importorskip("sentencepiece")
    model = trained(model_type="bpe", byte_fallback=True, **options)
    (tmp_path / "tokenizer.model").write_bytes(model)
    complete(tmp_path)
    if problem is None:
        assert vocabulary.of_folder(tmp_path, 500, "tiny")["tokenizer.ggml.model"].value == "llama"
        return
    with pytest.raises(Unsupported, match=problem):
        vocabulary.of_folder(tmp_path, 500, "tiny")


@pytest.mark.parametrize(
    "step",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "Digits", "individual_digits": True}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": tokens.SPACE, "split": True}},
        {"pre_tokenizer": split("x")["pretokenizers"][0]},
    ],
)
def test_other_steps_than_llama_cpps_are_refused(tmp_path: Path, step: dict[str, Any]) -> None:
    file = json.loads(json.dumps(definition(None)))
    file["model"] |= {"vocab": {"<unk>": 0, "a": 1}, "byte_fallback": True, "unk_token": "<unk>"}
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": [], **file, **step})
    )
    with pytest.raises(Unsupported, match="has nothing like"):
        vocabulary.of_folder(tmp_path, 3, "tiny")


class Keys(dict[str, Any]):
    """Stands for a file of these keys."""

    path = Path("a.gguf")


def scored_file(kind: str, *rows: tuple[str, float, int]) -> Any:
    table = [
        ("<unk>", 0.0, 2),
        ("<s>", 0.0, 3),
        *((f"<0x{i:02X}>", 0.0, 6) for i in range(256)),
        *rows,
    ]
    keys = dict(
        zip(("tokens", "scores", "token_type"), map(list, zip(*table, strict=True)), strict=True)
    )
    return Keys({f"tokenizer.ggml.{key}": value for key, value in (*keys.items(), ("model", kind))})


@pytest.mark.parametrize("kind", ["t5", "bert", "rwkv", "plamo2"])
def test_other_kinds_of_a_file_s_tokenizer_are_refused_by_name(kind: str) -> None:
    """Of which `t5` is what llama.cpp calls a unigram model, scores and all."""
    with pytest.raises(Unsupported, match=f"a tokenizer of the kind '{kind}'"):
        read_text(scored_file(kind, ("a", -1.0, 1)))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("b", -1.0, 1), ("ab", -2.0, 1), ("c", -3.0, 1), ("bc", -2.0, 1)], "no piece"),
        ([*letters(["abc"]), ("bc", -2.0, 1), ("ab", -2.0, 1)], "the same score meet in 'abc'"),
        ([*letters(["abc"]), ("ab", -2.0, 5), ("abc", -3.0, 1)], "unused piece 'ab'"),
        ([*letters(["abc"]), ("ab", -2.0, 1), ("bc", -3.0, 1)], None),
    ],
)
def test_scores_that_merges_cannot_follow_are_refused(
    rows: list[tuple[str, float, int]], problem: str | None
) -> None:
    file = scored_file("llama", *rows)
    if problem is None:
        assert read_text(file)[0].encode("abc", special=False)
        return
    with pytest.raises(Unsupported, match=problem):
        read_text(file)


@pytest.mark.parametrize("name", ["llama-2"])
def test_pieces_are_those_of_the_library(assets: Path, name: str) -> None:
    library = pytest.importorskip("sentencepiece")
    file = assets / "tokenizers" / name / "tokenizer.model"
    found, processor = pieces.read(file), library.SentencePieceProcessor(model_file=str(file))
    assert len(found.pieces) == processor.vocab_size()
    for index, piece in enumerate(found.pieces):
        assert (piece.text, piece.score) == (
            processor.id_to_piece(index),
            processor.get_score(index),
        )
        assert (piece.kind == pieces.BYTE) == processor.is_byte(index)
        assert (piece.kind == pieces.CONTROL) == processor.is_control(index)
    assert found.prefix == processor.normalize("a").startswith("\u2581")


BROKEN = {
    "empty": b"",
    "cut": b"\x0a\x10\x0a",
    "no end of a number": b"\xff" * 20,
    "a form that is none": b"\x0b",
    "a piece of no kind": b"\x0a\x05\x0a\x01a\x18\x09",
    "a text that is a number": b"\x08\x01",
    "not utf-8": b"\x0a\x04\x0a\x02\xff\xfe",
    "text": b"not a model",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_pieces_that_lie(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(Damaged, match=r"tokenizer\.model"):
        pieces.read(tmp_path / "tokenizer.model")
