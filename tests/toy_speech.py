"""Prepared speech that takes no time to make: each symbol is a tone, each voice a pitch; and small recipes for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.data.utterances import Utterance, write
from edge.train.recipe import Rates
from edge.train.speech.recipe import ConsistencyTable, SpeechRecipe, UtterancesTable

RATE, HOP = 16_000, 200
ADAM = Rates(matrix=3e-3, other=3e-3, shrink=0.0, warmup=0.1, decay=0.3, optimizer="adam")


def utterance(voice: int, rng: np.random.Generator, symbols: int = 8) -> Utterance:
    said = rng.integers(4, 20, symbols)
    frames = 3 + said % 5 * 2
    t = np.arange(int(frames.sum()) * HOP) / RATE
    hertz = 100.0 + 40 * voice
    tone = np.cumsum(np.repeat(300 + 150 * (said - 4), frames * HOP)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * hertz * t) + 0.3 * np.sin(2 * np.pi * tone)
    return Utterance(
        text="tones",
        voice=f"voice-{voice}",
        symbols=said.astype(np.int64),
        frames=frames.astype(np.int64),
        hertz=np.full(int(frames.sum()), hertz, np.float32),
        samples=(sound + 0.01 * rng.standard_normal(len(t))).astype(np.float32),
    )


def prepared(folder: Path, *, voices: int = 3, each: int = 4, seed: int = 0) -> Path:
    """Of each voice the first utterance is held out, if there are several."""
    rng = np.random.default_rng(seed)
    rows = [utterance(voice, rng) for voice in range(voices) for _ in range(each)]
    held = ["text" if each > 1 and row % each == 0 else "train" for row in range(len(rows))]
    write(folder, rows, held)
    return folder


def model(width: int = 16, **changes: Any) -> dict[str, Any]:
    """A small config.json."""
    encoder = {
        "encoder_layer": 1, "encoder_hidden": width, "encoder_head": 2, "encoder_dropout": 0.0,
        "conv_filter_size": 2 * width, "conv_kernel_size": 3,
    }  # fmt: skip
    predictor = {
        "input_size": width, "filter_size": width, "kernel_size": 3, "conv_layers": 2,
        "cross_attn_per_layer": 2, "attn_head": 2, "drop_out": 0.0,
    }  # fmt: skip
    refiner = {"hidden_size": 8, "num_layers": 2, "dilation_cycle": 2, "feature_size": width}
    return {
        "model_type": "edge_speech",
        "mel": "edge",
        "symbols": "edge-96",
        "positions": "own",
        "latent_dim": 80,
        "prompt_encoder": {**encoder, "use_cln": False},
        "query_emb": {"query_token_num": 4, "hidden_size": width, "head_num": 2},
        "prior_encoder": {
            "vocab_size": 100,
            "pitch_bins_num": 32,
            "pitch_min": 50,
            "pitch_max": 1100,
            "encoder": {**encoder, "use_cln": True},
            "duration_predictor": predictor,
            "pitch_predictor": predictor,
        },
        "diffusion": {
            "wavenet": {
                "input_size": 80, "hidden_size": width, "out_size": 80, "num_layers": 2,
                "cross_attn_per_layer": 2, "dilation_cycle": 2, "attn_head": 2,
            },
        },
        "refiner": {"duration": refiner, "pitch": refiner},
        **changes,
    }  # fmt: skip


def recipe(*, steps: int = 4, **changes: Any) -> SpeechRecipe:
    given: dict[str, Any] = {
        "seed": 3,
        "model": model(),
        "utterances": UtterancesTable(batch=4, crop=48, prompt_least=16, prompt_most=40),
        "rates": ADAM,
        "consistency": ConsistencyTable(steps=steps, first=2, last=8),
        "samples": 2,
        "precision": "fp32",
    }
    return SpeechRecipe(**given | changes)


def longer(made: SpeechRecipe, steps: int) -> SpeechRecipe:
    return replace(made, consistency=replace(made.consistency, steps=steps))
