"""InternLM2 against transformers' Llama: the same maths, once wqkv is taken apart by hand."""

from pathlib import Path

import numpy as np
import references
from support import checkpoint, config_of, weights_of

from edge.quant.recipe import parse
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference.decoder import oracle


def test_logits_are_those_of_llama(tmp_path: Path) -> None:
    config = config_of("internlm2", rope_scaling={"type": "dynamic", "factor": 2.0})
    weights = weights_of(config)
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], 40).tolist()
    want = references.internlm2(config, weights, ids)
    with Checkpoint.open(checkpoint(tmp_path / "it", config, weights)) as found:
        got = oracle(found, parse("fp32")).score(ids)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
