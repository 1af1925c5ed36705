"""Any spec -> JSON -> the same spec, bit for bit; whatever else the JSON says is refused."""

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import CONFIGS, config_of, spec_of

from edge.errors import Damaged
from edge.files.config import Config
from edge.files.records import read
from edge.spec import (
    MATRICES,
    BlockSparse,
    DecoderSpec,
    DynamicNtk,
    LayerSpec,
    Llama3Scaling,
    LongRope,
    Norm,
    Rope,
)

counts = st.integers(1, 1 << 20)
numbers = st.floats(1e-9, 1e5)
factors = st.lists(numbers, min_size=1, max_size=5).map(tuple)
scalings = st.none() | st.one_of(
    st.builds(
        Llama3Scaling,
        factor=numbers,
        low_freq_factor=numbers,
        high_freq_factor=numbers,
        original_context=counts,
    ),
    st.builds(
        LongRope,
        short=factors,
        long=factors,
        short_attention=numbers,
        long_attention=numbers,
        original_context=counts,
    ),
    st.builds(DynamicNtk, factor=numbers, original_context=counts),
)


@st.composite
def layers(draw: st.DrawFn) -> LayerSpec:
    kv_heads = draw(st.integers(1, 8))
    return LayerSpec(
        heads=kv_heads * draw(st.integers(1, 8)),
        kv_heads=kv_heads,
        head_width=draw(counts),
        ffn_width=draw(counts),
        gate=draw(st.sampled_from(["silu", "gegelu"])),
        gate_limit=draw(st.none() | numbers),
        biases=tuple(name for name in MATRICES if draw(st.booleans())),
        score_scale=draw(st.none() | numbers),
        sparse=draw(st.none() | st.builds(BlockSparse, block=counts, local=counts, stride=counts)),
        window=draw(st.none() | counts),
        qk_norm=draw(st.none() | numbers),
    )


@st.composite
def specs(draw: st.DrawFn) -> DecoderSpec:
    vocab = draw(counts)
    stack = tuple(draw(st.lists(layers(), min_size=1, max_size=3)))
    return DecoderSpec(
        vocab=vocab,
        width=draw(counts),
        layers=stack,
        norm=Norm(eps=draw(numbers), kind=draw(st.sampled_from(["rms", "layer"]))),
        rope=Rope(theta=draw(numbers), width=draw(counts), scaling=draw(scalings)),
        context=draw(counts),
        tied=draw(st.booleans()),
        embed_scale=draw(numbers),
        logit_scale=draw(numbers),
        exits=draw(st.sampled_from([(), *((e,) for e in range(1, len(stack)))])),
        draft_vocab=draw(st.none() | st.integers(1, vocab)),
        spliced=draw(st.booleans()),
        snapkv_rows=tuple(sorted(draw(st.sets(counts, max_size=3)))),
        forbidden=tuple(draw(st.lists(st.integers(0, vocab - 1), max_size=4))),
    )


def back(data: Any) -> DecoderSpec:
    return read(DecoderSpec, Config(data, "edge.json: spec"))


@given(specs())
def test_a_spec_reads_back_as_itself(spec: DecoderSpec) -> None:
    assert back(json.loads(json.dumps(asdict(spec)))) == spec


@given(specs())
def test_a_field_of_its_default_may_be_missing(spec: DecoderSpec) -> None:
    data = json.loads(json.dumps(asdict(spec)))
    for layer, kept in zip(data["layers"], spec.layers, strict=True):
        for field in fields(LayerSpec):
            if getattr(kept, field.name) == field.default:
                del layer[field.name]
    assert back(data) == spec


def test_every_field_is_drawn() -> None:
    """A field that is new to a spec and to no strategy above would prove nothing."""
    drawn: dict[str, set[Any]] = {}

    @given(specs())
    def draw(spec: DecoderSpec) -> None:
        for part in (spec, spec.norm, spec.rope, *spec.layers):
            for field in fields(part):
                name = f"{type(part).__name__}.{field.name}"
                drawn.setdefault(name, set()).add(getattr(part, field.name))

    draw()
    assert not [name for name, values in drawn.items() if len(values) < 2]


BROKEN: dict[str, dict[str, Any]] = {
    "unknown field 'colour'": {"colour": "red"},
    "layers is 7, not a list|no list of objects": {"layers": 7},
    "layers is no list of objects": {"layers": [[]]},
    "without layers": {"layers": []},
    "norm is missing": {"norm": None},
    "norm: kind is 'batch', not one of": {"norm": {"eps": 1e-5, "kind": "batch"}},
    "rope: scaling has the fields of nothing known": {
        "rope": {"theta": 1.0, "width": 2, "scaling": {"factor": 2.0}}
    },
    "rope: theta is True, not a number": {"rope": {"theta": True, "width": 2}},
    "forbidden id 97 of a vocabulary of 97": {"forbidden": [3, 97]},
    "forbidden is": {"forbidden": [-1]},
    "tied is 1, not true or false": {"tied": 1},
    "'width' is missing": {"width": None},
}


@pytest.mark.parametrize("problem", BROKEN)
def test_what_is_no_spec_is_named(problem: str) -> None:
    data = {**json.loads(json.dumps(asdict(spec_of(config_of("llama"))))), **BROKEN[problem]}
    with pytest.raises(Damaged, match=problem):
        back(data)


@pytest.mark.parametrize("family", CONFIGS)
def test_specs_of_families_read_back(family: str) -> None:
    spec = spec_of(config_of(family))
    assert back(json.loads(json.dumps(asdict(spec)))) == spec
