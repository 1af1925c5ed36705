"""Every network asks for exactly the weights that it says it has, and gives what its ports say."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS, inputs_of, weights_of

from edge.errors import Damaged, EdgeError
from edge.files.config import Config
from edge.net import NetSpec, Port, Size, batch_of, sizes_of
from edge.nn.batches import in_slices
from edge.nn.networks import define, networks, read_spec
from edge.nn.tracing import traced
from edge.protocols import Net
from edge_runtimes.reference.net import NumpyNetOps, ReferenceNet


def test_every_network_has_a_case() -> None:
    assert {spec.kind for spec in NETWORKS.values()} == set(networks())


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_those_that_the_definition_asks_for(name: str) -> None:
    spec = NETWORKS[name]
    ops, outputs = traced(spec, **{size.name: 3 for size in spec.config.sizes})
    assert set(ops.asked) == set(spec.config.shapes())
    ports = {
        port.name: tuple(3 if isinstance(n, str) else n for n in port.shape)
        for port in spec.config.outputs
    }
    assert outputs == ports


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_are_those_that_numpy_makes(name: str) -> None:
    spec, weights = NETWORKS[name], weights_of(NETWORKS[name])
    outputs = define(NumpyNetOps(weights.__getitem__), spec, **inputs_of(spec, batch=3))
    _, shapes = traced(spec, **{size.name: 3 for size in spec.config.sizes})
    assert {key: out.shape for key, out in outputs.items()} == shapes


@pytest.mark.parametrize("name", NETWORKS)
def test_one_of_a_batch_is_as_if_it_were_alone(name: str) -> None:
    """Of regions of one picture, which are no batch, as well."""
    spec, weights = NETWORKS[name], weights_of(NETWORKS[name])
    ops, inputs = NumpyNetOps(weights.__getitem__), inputs_of(NETWORKS[name], batch=3)
    whole = define(ops, spec, **inputs)
    batch = Size(name=batch_of(spec.config) or spec.config.sizes[0].name, most=1)
    alone = in_slices(spec.config, lambda given: define(ops, spec, **given), inputs, batch)
    assert alone.keys() == whole.keys()
    for key, out in alone.items():
        np.testing.assert_allclose(out, whole[key], atol=1e-5)


def written(spec: NetSpec) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(spec))))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_json(name: str) -> None:
    assert read_spec(Config(written(NETWORKS[name]), "edge.json")) == NETWORKS[name]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"heads": 3}, "3 heads do not divide a width of 16"),
        ({"width": 0}, "width"),
        ({"width": 1 << 30}, "width is 1073741824"),
        ({"layers": 5000}, "layers"),
        ({"width": 1 << 22}, "from 1 to 2"),
        ({"grid": [4]}, "grid"),
        ({"grid": [4, 0]}, "from 1 to 2"),
        ({"grid": "4"}, "grid"),
        ({"stem": [[4, 4, 4]]}, "stem"),
        ({"stem": [4]}, "stem"),
        ({"stem": [{"a": 1}]}, "stem"),
        ({"norm": {"eps": 1e-6, "kind": "batch"}}, "kind"),
        ({"code": "os"}, "unknown field 'code'"),
    ],
)
def test_numbers_that_make_no_network_are_refused(change: dict[str, Any], problem: str) -> None:
    data = written(NETWORKS["catlip"])
    data["config"] |= change
    with pytest.raises(Damaged, match=problem):
        read_spec(Config(data, "edge.json"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"depths": {"earlier": 3, "mean": 1}}, "3 layers before the last"),
        ({"depths": {"earlier": 1, "mean": 0}}, "mean"),
        ({"depths": {"earlier": 1, "mean": 4}}, "a mean of 4, of 3"),
        ({"depths": {"earlier": 0, "mean": 1}}, "earlier"),
        ({"depths": {"mean": 1}}, "earlier"),
        ({"classes": 5}, "several layers"),
        ({"last": {"eps": 1e-6, "kind": "layer"}}, "several layers"),
    ],
)
def test_depths_that_no_layers_have_are_refused(change: dict[str, Any], problem: str) -> None:
    data = written(NETWORKS["dinov2, several depths"])
    data["config"] |= change
    with pytest.raises(Damaged, match=problem):
        read_spec(Config(data, "edge.json"))


@pytest.mark.parametrize("change", [{"kind": "os"}, {"kind": "networks"}, {"config": None}])
def test_only_networks_that_there_are_can_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="no network"):
        read_spec(Config({**written(NETWORKS["vit"]), **change}, "edge.json"))


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A network that is nothing but what it says of itself."""

    inputs: tuple[Port, ...] = (Port(name="x", shape=("rows", 4)),)
    outputs: tuple[Port, ...] = (Port(name="out", shape=("rows", 4)),)
    sizes: tuple[Size, ...] = (Size(name="rows", most=9),)
    weight: str = "w"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.weight: (4, 4)}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (Numbers(weight="x"), "x: two things of one name"),
        (Numbers(outputs=(Port(name="x", shape=("rows", 4)),)), "x: two things of one name"),
        (Numbers(sizes=()), "sizes rows of a network"),
        (Numbers(sizes=(Size(name="rows", most=9), Size(name="t", most=2))), "sizes t"),
    ],
)
def test_what_would_be_two_things_in_one_graph_is_refused(config: Numbers, problem: str) -> None:
    with pytest.raises(Damaged, match=re.escape(problem)):
        NetSpec(kind="numbers", config=config)


@pytest.mark.parametrize(
    ("least", "most", "steps"),
    [(0, 4, ()), (5, 4, ()), (1, 4, (2, 2)), (1, 4, (8,)), (1, 4, (3, 2))],
)
def test_sizes_are_checked(least: int, most: int, steps: tuple[int, ...]) -> None:
    with pytest.raises(Damaged, match="size n"):
        Size(name="n", least=least, most=most, steps=steps)


@given(
    count=st.integers(0, 300),
    most=st.integers(1, 40),
    steps=st.sets(st.integers(1, 40)),
)
def test_pieces_are_all_and_none_is_larger_than_a_call(
    count: int, most: int, steps: set[int]
) -> None:
    size = Size(name="n", most=most, steps=tuple(sorted(s for s in steps if s <= most)))
    pieces = size.pieces(count)
    assert sum(pieces) == count
    assert list(pieces) == sorted(pieces, reverse=True)
    assert all(1 <= piece <= most for piece in pieces)
    assert not size.steps or set(pieces[:-1]) <= {*size.steps, most}
    assert count < most or pieces[0] == most


def test_a_call_chooses_sizes_by_its_inputs() -> None:
    spec = NETWORKS["projector-v2"]
    net = ReferenceNet(spec, weights_of(spec).__getitem__)
    assert isinstance(net, Net)
    assert sizes_of(spec.config, {"features": (3, 17, 8)}) == {"tiles": 3}
    assert net(**inputs_of(spec, batch=3))["rows"].shape == (3, 4, 12)


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ({}, "got nothing"),
        ({"image": (1, 17, 8)}, "got image"),
        ({"features": (1, 17, 8), "more": (1,)}, "got features, more"),
        ({"features": (1, 16, 8)}, r"\[1, 16, 8\]"),
        ({"features": (17, 8)}, r"\[17, 8\]"),
        ({"features": (65, 17, 8)}, "tiles is 65"),
        ({"features": (0, 17, 8)}, "tiles is 0"),
    ],
)
def test_inputs_that_are_not_the_ports_are_refused(
    shapes: dict[str, tuple[int, ...]], problem: str
) -> None:
    spec = NETWORKS["projector-v2"]
    net = ReferenceNet(spec, weights_of(spec).__getitem__)
    with pytest.raises(EdgeError, match=problem):
        net(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def test_one_size_is_one_number() -> None:
    two = Numbers(inputs=(Port(name="x", shape=("rows", 4)), Port(name="y", shape=(2, "rows"))))
    assert sizes_of(two, {"x": (3, 4), "y": (2, 3)}) == {"rows": 3}
    with pytest.raises(EdgeError, match="input y"):
        sizes_of(two, {"x": (3, 4), "y": (2, 5)})
