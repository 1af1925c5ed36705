"""Checkpoints of speech with random weights, each by code that is not ours: what a whole one is, and what each of
its networks computes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from towers import State, shaken

Arrays = Mapping[str, np.ndarray]
Reference = Callable[..., Arrays]  # inputs by name -> outputs by name, of one network


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """`made`: fields of a config -> its tensors, and what each network computes."""

    fields: Mapping[str, Any]
    made: Callable[[Mapping[str, Any]], tuple[State, Mapping[str, Reference]]]

    def write(self, folder: Path, **changes: Any) -> Mapping[str, Reference]:
        from safetensors.numpy import save_file

        fields = {**self.fields, **changes}
        state, references = self.made(fields)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(fields))
        tensors = {name: np.ascontiguousarray(value) for name, value in state.items()}
        save_file(tensors, folder / "model.safetensors")
        return references


def first(x: np.ndarray) -> Any:
    """Channels last -> channels first, as torch has them."""
    import torch

    return torch.tensor(x).mT


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.detach().mT.numpy())


def framed(sound: Any, hop: int, frames: int) -> np.ndarray:
    """[B, 1, T] -> [B, frames, hop]; what a last frame lacks is zero."""
    x = sound.detach().numpy()[:, 0]
    return np.pad(x, [(0, 0), (0, hop * frames - x.shape[1])]).reshape(len(x), frames, hop)


def dac(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    import transformers

    model = transformers.DacModel(transformers.DacConfig(**fields))
    state = shaken(model)

    def encoder(audio: np.ndarray, **_: np.ndarray) -> Arrays:
        flat = audio.reshape(len(audio), -1, 1)
        return {"latent": last(model.encoder(first(flat)))}

    def quantizer(codes: np.ndarray, **_: np.ndarray) -> Arrays:
        return {"latent": last(model.quantizer.from_codes(first(codes))[0])}

    def decoder(latent: np.ndarray, **_: np.ndarray) -> Arrays:
        sound = model.decoder(first(latent))
        hop = int(np.prod(fields["downsampling_ratios"]))
        return {"audio": framed(sound, hop, latent.shape[1])}

    return state, {"encoder": encoder, "quantizer": quantizer, "decoder": decoder}


SPEAKING = {
    "dac": Checkpointed(
        fields={
            "model_type": "dac",
            "encoder_hidden_size": 4,
            "decoder_hidden_size": 32,
            "downsampling_ratios": [2, 3, 4],
            "n_codebooks": 3,
            "codebook_size": 8,
            "codebook_dim": 4,
            "sampling_rate": 16000,
        },
        made=dac,
    ),
}
