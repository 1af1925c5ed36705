"""The name map is total both ways; the model definition asks for the weights that a spec has."""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from support import CONFIGS, checkpoint, config_of, spec_of, tiny, weights_of

from edge.errors import Damaged, EdgeError
from edge.families import family_of
from edge.files.config import Config
from edge.names import Location, Made, NameMap, Part, shapes, stored
from edge.net import NetSpec
from edge.nn.decoder import decoder
from edge.nn.vit import VitSpec
from edge.source.checkpoint import Checkpoint
from edge.spec import LayerSpec, Norm, Rope

FAMILIES = sorted(CONFIGS)


@dataclass
class NullOps:
    """All of the plumbing and none of the maths: every weight's name is remembered."""

    names: list[str] = field(default_factory=list)

    def embed(self, name: str, tokens: str) -> str:
        self.names.append(name)
        return tokens

    def add_norm(self, x: str, d: str | None, name: str, norm: Norm) -> tuple[str, str]:
        self.names += [name, f"{name}.bias"] if norm.kind == "layer" else [name]
        return x, x

    def add(self, x: str, d: str) -> str:
        return x

    def linear(self, x: str, *names: str, biased: Collection[str] = ()) -> tuple[str, ...]:
        self.names += names
        self.names += [f"{name}.bias" for name in names if name in biased]
        return names

    def rope(self, rope: Rope, context: int) -> str:
        return "rope"

    def attend(self, q: str, k: str, v: str, *, layer: LayerSpec, index: int, rope: str) -> str:
        if layer.qk_norm is not None:
            self.names += [f"layers.{index}.attn.{part}" for part in ("q_norm", "k_norm")]
        return q

    def gate(self, g: str, u: str, layer: LayerSpec) -> str:
        return g

    def scale(self, x: str, by: float) -> str:
        return x

    def forbid(self, logits: str, ids: tuple[int, ...]) -> str:
        return logits

    def wanted(self, x: str) -> str:
        return x


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_definition_uses_exactly_the_weights_of_its_spec(family: str, tied: bool) -> None:
    spec = replace(spec_of(config_of(family)), tied=tied)
    ops = NullOps()
    decoder(ops, spec, "tokens")
    assert set(ops.names) == set(shapes(spec))
    once = sorted(name for name in ops.names if not (tied and name == "embed"))
    assert once == sorted(set(once)), "a weight is used twice"


@pytest.mark.parametrize("family", FAMILIES)
def test_places_cover_every_row_of_every_tensor_once(family: str) -> None:
    config = Config(config_of(family), "config.json")
    found = family_of(config)
    places = found.names.places(found.spec(config)).values()
    rows: dict[str, list[int]] = {}
    for place in places:
        parts = place.rows or (range(place.stored[0]),)
        rows.setdefault(place.tensor, []).extend(row for part in parts for row in part)
        assert sum(map(len, parts)) == place.shape[0]
    heights = {place.tensor: place.stored[0] for place in places}
    assert {name: sorted(seen) for name, seen in rows.items()} == {
        name: list(range(height)) for name, height in heights.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["missing", "unknown", "misshapen", "transposed"])
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, family: str, kind: str) -> None:
    config = config_of(family)
    weights = weights_of(config)
    name = sorted(weights)[len(weights) // 2]
    if kind == "missing":
        del weights[name]
    elif kind == "unknown":
        name = "model.layers.7.self_attn.bias"
        weights[name] = np.ones(3, np.float32)
    elif kind == "misshapen":
        weights[name] = weights[name][:-1]
    else:
        name = next(n for n, w in weights.items() if w.ndim == 2 and w.shape[0] != w.shape[1])
        weights[name] = np.ascontiguousarray(weights[name].T)
    with pytest.raises(Damaged) as caught:
        Checkpoint.open(checkpoint(tmp_path / "it", config, weights))
    assert name in str(caught.value)


def test_many_missing_tensors_make_a_short_error(tmp_path: Path) -> None:
    config = config_of("llama", num_hidden_layers=500)
    with pytest.raises(Damaged, match="and 4479 more") as caught:
        Checkpoint.open(checkpoint(tmp_path / "it", config, weights_of(config_of("llama"))))
    assert len(str(caught.value)) < 600


def test_a_tied_head_that_is_saved_twice_is_no_mistake(tmp_path: Path) -> None:
    config = config_of("llama", tie_word_embeddings=True)
    weights = weights_of(config)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    with Checkpoint.open(checkpoint(tmp_path / "it", config, weights)) as opened:
        assert "head" not in opened.places


def test_a_weight_that_a_family_has_no_name_for_is_named() -> None:
    """What a newcomer forgets: his config asks for biases, his map has none."""
    spec = spec_of(config_of("internlm2"))
    biased = replace(
        spec, layers=tuple(replace(layer, biases=("attn.q",)) for layer in spec.layers)
    )
    names = family_of(Config(config_of("internlm2"), "config.json")).names
    with pytest.raises(EdgeError, match=r"no tensor for layers\.\{i\}\.attn\.q\.bias"):
        names.check(biased, {})


def test_a_head_that_is_missing_may_be_tied(tmp_path: Path) -> None:
    """Qwen3-VL-Embedding 89: untied by its config, and without a head."""
    weights = weights_of(config_of("llama"))
    del weights["lm_head.weight"]
    with pytest.raises(Damaged, match=r"lm_head\.weight\] missing(.|\n)*is tied by a field"):
        Checkpoint.open(checkpoint(tmp_path / "it", config_of("llama"), weights))


@pytest.mark.parametrize(
    ("name", "known"),
    {
        "rotary_emb.inv_freq": True,
        "model.rotary_emb.inv_freq": True,
        "model.layers.0.attention.rope.inv_freq": True,
        "transformer.layers.0.attn.pos_embedding.inv_freq": True,
        "transformer.h.3.attention.bias": True,
        "transformer.h.3.attention.masked_bias": True,
        "model.layers.0.self_attn.bias": False,
        "model.layers.0.self_attn.q_proj.bias": False,
        "model.norotary_emb.inv_freq": False,
        "rotary_emb.inv_freq.weight": False,
    }.items(),
)
@pytest.mark.parametrize("family", FAMILIES)
def test_buffers_of_older_code(family: str, name: str, known: bool) -> None:
    config = Config(config_of(family), "config.json")
    found = {tensor: w.shape for tensor, w in weights_of(config.data).items()} | {name: (8,)}
    spec, names = family_of(config).spec(config), family_of(config).names
    with nullcontext() if known else pytest.raises(Damaged, match=name):
        names.check(spec, found)


def test_old_rotary_buffers_carry_no_weight(tmp_path: Path) -> None:
    config = config_of("llama")
    weights = weights_of(config)
    weights["model.layers.1.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    Checkpoint.open(checkpoint(tmp_path / "it", config, weights)).close()


def test_fused_tensors_come_apart(tmp_path: Path) -> None:
    config = config_of("phi3")
    weights = weights_of(config)
    qkv = weights["model.layers.1.self_attn.qkv_proj.weight"]
    with Checkpoint.open(tiny(tmp_path / "it", "phi3")) as opened:
        np.testing.assert_array_equal(opened["layers.1.attn.q"], qkv[:64])
        np.testing.assert_array_equal(opened["layers.1.attn.k"], qkv[64:96])
        np.testing.assert_array_equal(opened["layers.1.attn.v"], qkv[96:])
        gate_up = weights["model.layers.0.mlp.gate_up_proj.weight"]
        np.testing.assert_array_equal(opened["layers.0.mlp.gate"], gate_up[:96])
        np.testing.assert_array_equal(opened["layers.0.mlp.up"], gate_up[96:])


def test_blocks_put_together_are_the_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edge.source.checkpoint.BLOCK", 7 * 64
    )  # seven rows, which divide nothing here
    with Checkpoint.open(tiny(tmp_path / "it", "phi3")) as opened:
        want = weights_of(config_of("phi3"))["model.layers.0.self_attn.qkv_proj.weight"]
        blocks = list(opened.blocks("layers.0.attn.v"))
        assert max(map(len, blocks)) == 7
        np.testing.assert_array_equal(np.concatenate(blocks), want[96:])
        rows = np.array([5, 0, 96])
        embed = weights_of(config_of("phi3"))["model.embed_tokens.weight"]
        np.testing.assert_array_equal(opened.take("embed", rows), embed[rows])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_map_goes_back(family: str) -> None:
    """Every tensor is made of weights again, and of each of its rows once."""
    config = config_of(family)
    parsed = Config(config, "config.json")
    found, theirs = family_of(parsed), weights_of(config)
    places = found.names.places(spec_of(config))
    tensors = stored(places)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    for name, tensor in tensors.items():
        made = np.full(tensor.shape, np.nan, np.float32)
        for weight, rows in tensor.weights.items():
            assert places[weight].tensor == name
            index = [row for part in rows for row in part]
            order = [row for part in places[weight].rows for row in part] or slice(None)
            made[index] = theirs[name][order]
        np.testing.assert_array_equal(made, theirs[name])


@pytest.mark.parametrize(
    "rows", [((range(2),),), ((range(2),), (range(1, 3),)), ((range(3),), (range(2, 3),))]
)
def test_a_transform_without_an_inverse_is_refused(rows: tuple[tuple[range, ...], ...]) -> None:
    places = {
        f"weight{n}": Location("fused", (sum(map(len, part)), 4), (3, 4), part)
        for n, part in enumerate(rows)
    }
    with pytest.raises(EdgeError, match="fused cannot be written"):
        stored(places)


def matrix_of(config: VitSpec, kernel: np.ndarray) -> np.ndarray:
    """A kernel [O, C, k, k] as a product has it: channels last."""
    return kernel.transpose(0, 2, 3, 1).reshape(config.width, -1)


MADE = NameMap(
    {
        "patch": Made(("proj.weight",), lambda c, _: ((c.width, 3, c.patch, c.patch),), matrix_of),
        "patch.bias": "proj.bias",
        "position": Made(
            ("cls", "table"),
            lambda c, _: ((1, c.width), (c.rows - 1, c.width)),
            lambda _, cls, table: np.concatenate([cls, table]),
        ),
        **{
            f"layers.{{i}}.attn.{n}{end}": Part(
                f"blocks.{{i}}.qkv{tensor}", lambda c: _thirds(c.width), i
            )
            for i, n in enumerate("qkv")
            for end, tensor in (("", ".weight"), (".bias", ".bias"))
        },
        **{
            f"layers.{{i}}.{n}{end}": f"blocks.{{i}}.{n}{tensor}"
            for n in ("attn.norm", "attn.o", "mlp.norm", "mlp.up", "mlp.down")
            for end, tensor in (("", ".weight"), (".bias", ".bias"))
        },
    },
    ignore=("mask",),
)
VIT = VitSpec(
    grid=(2, 2), patch=2, width=4, layers=2, heads=1, ffn_width=6, norm=Norm(eps=1e-6, kind="layer")
)


def _thirds(width: int) -> tuple[tuple[range, ...], ...]:
    return tuple((range(i * width, (i + 1) * width),) for i in range(3))


def test_a_network_has_a_name_map_as_a_decoder_has() -> None:
    """Total both ways, too, where weights are made of several tensors."""
    spec = NetSpec(kind="vit", config=VIT)
    places = MADE.places(spec)
    assert list(places) == list(shapes(spec))
    found = {name: shape for place in places.values() for name, shape in place.tensors.items()}
    assert found["proj.weight"] == (4, 3, 2, 2)
    assert found["cls"] == (1, 4)
    assert found["blocks.1.qkv.weight"] == (12, 4)
    assert MADE.check(spec, {**found, "mask": (1,)}) == places
    for missing in ("cls", "table", "proj.weight", "blocks.0.qkv.bias"):
        with pytest.raises(Damaged, match=missing):
            MADE.check(spec, {name: s for name, s in found.items() if name != missing})
    with pytest.raises(Damaged, match="table has shape"):
        MADE.check(spec, {**found, "table": (9, 4)})
    with pytest.raises(Damaged, match="another"):
        MADE.check(spec, {**found, "another": (1,)})


def test_what_is_made_is_made_of_whole_tensors() -> None:
    rng = np.random.default_rng(0)
    places = MADE.places(NetSpec(kind="vit", config=VIT))
    for name in ("patch", "position"):
        place = places[name]
        given = [rng.standard_normal(shape).astype(np.float32) for shape in place.tensors.values()]
        assert place.make(*given).shape == place.shape == VIT.shapes()[name]
    assert places["layers.1.attn.k"].rows == (range(4, 8),)
    assert places["layers.1.attn.k"].made is None
