"""The networks of regions: what plain torch makes of the published weights, on every target, whatever boxes there are;
and in slices as at once.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow_regions as slow
from networks import NETWORKS, inputs_of, weights_of
from on_targets import TARGETS, on_numpy

from edge.families import families
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.batches import in_slices
from edge.nn.networks import define
from edge.nn.projector import ProjectorSpec
from edge.nn.regions.region_encoder import REGIONS, RegionEncoderSpec
from edge.nn.regions.region_maps import RegionMapsSpec
from edge.nn.tracing import traced
from edge_runtimes.reference.net import NumpyNetOps

torch = pytest.importorskip("torch")
CLOSE = 5e-6  # of the largest number
Arrays = Mapping[str, np.ndarray]

NAMES = {family.name: family.names for family in families()}
MAPS, ENCODER = NETWORKS["region maps"], NETWORKS["region encoder"]
# Middles and sizes, as shares of a picture: plain ones, read as corners inverted, of no area, outside in every
# direction, of the whole picture, and larger than it.
BOXES = np.float32(
    [
        *(
            [0.1, 0.2, 0.3, 0.45],
            [0.4, 0.35, 0.1, 0.05],
            [0.3, 0.3, 0.3, 0.3],
            [0.7, 0.8, 0.2, 0.3],
        ),
        *(
            [0, 0, 0, 0],
            [0.5, 0.5, 1, 1],
            [-0.4, -0.3, 0.2, 0.1],
            [3, -2, 5, 9],
            [1e6, -1e6, 1e7, 0],
        ),
    ]
)[None]
PUBLISHED_MAPS = RegionMapsSpec(side=32, channels=1024)
PUBLISHED = RegionEncoderSpec(side=32, channels=1024, width=4096)


def config(spec: NetSpec) -> Any:
    return spec.config


def read(names: NameMap, spec: NetSpec, state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A checkpoint's tensors as the network's weights."""
    found = {name: value.float().numpy() for name, value in state.items()}
    places = names.check(spec, {name: value.shape for name, value in found.items()})
    return {
        name: found[place.tensor] if place.made is None else place.make(found[place.tensor])
        for name, place in places.items()
    }


def near(got: np.ndarray, want: np.ndarray, close: float = CLOSE) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= close * np.abs(want).max()


def given(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Maps and so many boxes, of which the first are the strange ones."""
    inputs = inputs_of(ENCODER, batch=count, seed=seed)
    inputs["boxes"] = np.concatenate([BOXES, np.abs(inputs["boxes"])], axis=1)[:, :count]
    return inputs


def test_maps_are_those_of_the_published_code() -> None:
    spec = config(MAPS)
    state = slow.tensors(slow.maps_shapes(spec.channels, spec.levels, spec.rounds))
    inputs = inputs_of(MAPS, batch=2)
    wants = slow.maps(state, list(inputs.values()), spec.rounds, spec.groups)
    weights = read(NAMES["groma_region_maps"], MAPS, state)
    made = define(NumpyNetOps(weights.__getitem__), MAPS, **inputs)
    for got, want in zip(made.values(), wants, strict=True):
        near(got, want.permute(0, 2, 3, 1).numpy())


def encoder_state() -> dict[str, Any]:
    spec = config(ENCODER)
    numbers = (spec.channels, spec.width, spec.levels, spec.bins, spec.inner, spec.place)
    return slow.tensors(slow.encoder_shapes(*numbers))


def test_regions_are_those_of_the_published_code() -> None:
    """A box's middle and size are taken as corners, at twice their place (Groma#11, Groma#21)."""
    spec, state, inputs = config(ENCODER), encoder_state(), given(12)
    maps = [inputs[f"map_{i}"][0] for i in range(spec.levels)]
    want = slow.encoded(state, maps, inputs["boxes"][0], bins=spec.bins, pixels=14 * spec.side)
    weights = read(NAMES["groma_region_encoder"], ENCODER, state)
    ops = NumpyNetOps(weights.__getitem__)
    near(define(ops, ENCODER, **inputs)["rows"][0], want.numpy())
    for changed in (1.0, 1.9):
        other = NetSpec(kind=ENCODER.kind, config=replace(spec, stretch=changed))
        got = define(ops, other, **inputs)["rows"][0]
        assert np.abs(got - want.numpy()).max() > 1e-2 * np.abs(want.numpy()).max()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_maps_on_a_target(target: str, batch: int, tmp_path: Path) -> None:
    weights, inputs = weights_of(MAPS), inputs_of(MAPS, batch=batch)
    oracle, run = (make(MAPS, weights, tmp_path)(**inputs) for make in (on_numpy, TARGETS[target]))
    for name, want in oracle.items():
        near(run[name], want)


@pytest.mark.parametrize("target", TARGETS)
def test_regions_on_a_target(target: str, tmp_path: Path) -> None:
    """One network, opened once, whatever number of regions there is."""
    weights = weights_of(ENCODER)
    oracle, run = (make(ENCODER, weights, tmp_path) for make in (on_numpy, TARGETS[target]))
    for count in (1, 9, 16):
        near(run(**given(count))["rows"], oracle(**given(count))["rows"])


@pytest.mark.parametrize("count", [0, 1, 16, 17, 39])
def test_slices_are_what_all_at_once_is(count: int) -> None:
    weights = weights_of(ENCODER)
    called, inputs = list[int](), given(count)

    def call(some: Arrays) -> Arrays:
        called.append(some["boxes"].shape[1])
        return define(NumpyNetOps(weights.__getitem__), ENCODER, **some)

    rows = in_slices(ENCODER.config, call, inputs, REGIONS)["rows"]
    assert rows.shape == (1, count, config(ENCODER).width)
    assert sum(called) == count
    assert set(called) <= set(REGIONS.steps)
    if count:
        want = define(NumpyNetOps(weights.__getitem__), ENCODER, **inputs)["rows"]
        np.testing.assert_allclose(rows, want, atol=1e-5)


def test_the_published_tensors() -> None:
    """Their names and shapes behind `region_encoder.` and `img_txt_bridge.`, and no tensor more."""
    bridge = ProjectorSpec(side=32, channels=1024, width=4096, order="columns", class_row=False)
    square = {
        f"{i}.{part}": (4096,) * n for i in (0, 2) for part, n in (("weight", 2), ("bias", 1))
    }
    encoder = slow.encoder_shapes(1024, 4096, 3, 14, 1024, 256)
    parts = (
        (
            NAMES["groma_region_maps"],
            NetSpec(kind="region_maps", config=PUBLISHED_MAPS),
            slow.maps_shapes(1024, 3, 5),
        ),
        (NAMES["groma_region_encoder"], NetSpec(kind="region_encoder", config=PUBLISHED), encoder),
        (NAMES["groma_bridge"], NetSpec(kind="projector", config=bridge), square),
    )
    for names, spec, shapes in parts:
        places = names.check(spec, shapes)
        assert sum(map(prod, shapes.values())) == sum(map(prod, spec.config.shapes().values()))
        assert {tensor for place in places.values() for tensor in place.tensors} == set(shapes)
    assert PUBLISHED.shapes()["flat"] == (1024, 200704)


def test_a_slice_bounds_memory_and_work_is_of_regions_alone() -> None:
    """Of the published sizes: numbers in the arrays of the widest operation, and multiplications."""
    spec = NetSpec(kind="region_encoder", config=PUBLISHED)
    one, most = (traced(spec, regions=count)[0] for count in (1, REGIONS.most))
    assert most.work == pytest.approx(REGIONS.most * one.work)
    assert 4 * most.largest < 250e6  # bytes, the finest map's 67 million among them
