"""Networks of speech on every target: what numpy computes, at lengths from one to the longest that people say;
padded as at their own length.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS, weights_of
from on_targets import TARGETS, on_numpy

from edge.net import NetSpec
from edge.nn.networks import networks
from edge.prove.networks import seeded

SPEECH = {
    name: spec
    for name, spec in NETWORKS.items()
    if networks()[spec.kind].define.__module__.startswith("edge.nn.speech.")
}
CLOSE = 5e-6  # of the largest number
# Of a codec with random weights, whose waves are fast and near their loudest all the time.
CLOSE_SOUND = 2e-4
SHORT = {"batch": 2, "phonemes": 5, "prompt_frames": 7, "frames": 11}
# Four hundred phonemes and ten seconds of a prompt; of codecs, ten seconds.
LONG = {"batch": 1, "phonemes": 400, "prompt_frames": 800, "frames": 1000}
ONE = dict.fromkeys(SHORT, 1)


def given(spec: NetSpec, sizes: Mapping[str, int], seed: int = 3) -> dict[str, np.ndarray]:
    return seeded(spec, {size.name: sizes[size.name] for size in spec.config.sizes}, seed)


def near(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].shape == expected.shape
        most = np.abs(expected).max()
        assert most > 0, name
        close = CLOSE_SOUND if name == "audio" else CLOSE
        assert np.abs(got[name] - expected).max() <= close * most, name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SPEECH)
def test_a_target_computes_what_numpy_does(name: str, target: str, tmp_path: Path) -> None:
    spec, weights = SPEECH[name], weights_of(SPEECH[name])
    oracle, run = (make(spec, weights, tmp_path) for make in (on_numpy, TARGETS[target]))
    for sizes in (ONE, SHORT, LONG):
        inputs = given(spec, sizes)
        near(run(**inputs), oracle(**inputs))


@pytest.mark.parametrize("name", SPEECH)
def test_padded_is_as_at_its_own_length(name: str, tmp_path: Path) -> None:
    """What lies where nothing counts is noise here: codecs elsewhere know no mask (transformers#43377)."""
    spec, weights = SPEECH[name], weights_of(SPEECH[name])
    run = on_numpy(spec, weights, tmp_path)
    whole, own = (
        given(spec, {**SHORT, "batch": 1}),
        {"phonemes": 3, "prompt_frames": 4, "frames": 5},
    )
    for port in spec.config.inputs:
        if port.values == "mask" and port.shape[1] in own:
            whole[port.name][:] = np.arange(whole[port.name].shape[1]) < own[str(port.shape[1])]
    if "alignment" in whole:  # none of a phoneme that does not count
        whole["alignment"][:] %= own["phonemes"]
    ports = {port.name: port for port in (*spec.config.inputs, *spec.config.outputs)}

    def cut(name: str, x: np.ndarray) -> np.ndarray:
        size = ports[name].shape[1]
        return x[:, : own[size]] if size in own else x  # type: ignore[index]

    padded = run(**whole)
    alone = run(**{name: cut(name, x) for name, x in whole.items()})
    near({name: cut(name, x) for name, x in padded.items()}, alone)
    if "book_mask" in whole:  # codes of every frame are looked up
        return
    for name, x in padded.items():
        rest = x[:, alone[name].shape[1] :]
        assert not rest.any(), f"{name}: what does not count is not zero"


def test_at_the_least_noise_a_consistency_model_gives_back_what_it_got(tmp_path: Path) -> None:
    """The boundary that makes it one (arXiv 2303.01469), whatever its weights."""
    spec = SPEECH["consistency"]
    inputs = given(spec, {**SHORT, "batch": 1})
    inputs["sigma"][:] = 0.002
    found = on_numpy(spec, weights_of(spec), tmp_path)(**inputs)["clean"]
    np.testing.assert_allclose(found, inputs["latent"] * inputs["frame_mask"][..., None], atol=1e-6)


def test_refinement_adds_as_much_as_alpha_says(tmp_path: Path) -> None:
    spec = SPEECH["refiner"]
    run, inputs = on_numpy(spec, weights_of(spec), tmp_path), given(spec, {**SHORT, "batch": 1})
    mask, initial = inputs["mask"], inputs["initial"]

    def refined(alpha: float) -> np.ndarray:
        return run(**{**inputs, "alpha": np.full((1, 1), alpha, np.float32)})["refined"]

    np.testing.assert_array_equal(refined(0.0), initial * mask)
    whole = refined(1.0) - initial * mask
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(refined(0.2), initial * mask + 0.2 * whole, atol=1e-6)
    inputs["sigma"][:] = 0.002  # the residual is the noise itself
    np.testing.assert_allclose(refined(1.0), (initial + inputs["noisy"]) * mask, atol=1e-6)
