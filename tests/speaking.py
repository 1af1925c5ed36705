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


def vocos(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    """The paper's layers in plain torch, under the published names, and torch's own inverse transform."""
    import torch
    from torch import nn

    width, hop, window = fields["dim"], fields["hop_length"], fields["n_fft"]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.pwconv1 = nn.Linear(width, fields["intermediate_dim"])
            self.pwconv2 = nn.Linear(fields["intermediate_dim"], width)
            self.gamma = nn.Parameter(torch.ones(width))

        def forward(self, x: Any) -> Any:
            h = self.norm(self.dwconv(x).mT)
            return x + (self.gamma * self.pwconv2(nn.functional.gelu(self.pwconv1(h)))).mT

    model = nn.Module()
    model.backbone, model.head = nn.Module(), nn.Module()
    model.backbone.embed = nn.Conv1d(fields["input_channels"], width, 7, padding=3)
    model.backbone.norm = nn.LayerNorm(width, eps=1e-6)
    model.backbone.convnext = nn.ModuleList(Block() for _ in range(fields["num_layers"]))
    model.backbone.final_layer_norm = nn.LayerNorm(width, eps=1e-6)
    model.head.out = nn.Linear(width, window + 2)
    state = {**shaken(model), "head.istft.window": torch.hann_window(window).numpy()}

    def vocoder(mel: np.ndarray, **_: np.ndarray) -> Arrays:
        x = model.backbone.norm(model.backbone.embed(first(mel)).mT).mT
        for block in model.backbone.convnext:
            x = block(x)
        x = model.head.out(model.backbone.final_layer_norm(x.mT)).mT
        loud, phase = x.chunk(2, dim=1)
        spectrum = torch.polar(loud.exp().clip(max=100), phase)
        frames = spectrum.shape[2]
        if fields["padding"] == "center":  # one frame more, so that the last hop is there, too
            more = nn.functional.pad(spectrum, (0, 1))
            hann = torch.hann_window(window)
            sound = torch.istft(more, window, hop, window, hann, center=True)
            # torch counts the window of the silent frame, too: divide by that of the others.
            loudness = [
                overlapped(hann**2, n, hop)[window // 2 :][: frames * hop]
                for n in (frames + 1, frames)
            ]
            sound = sound * loudness[0] / loudness[1]
            return {"audio": framed(sound[:, None], hop, frames)}
        hann = torch.hann_window(window)
        pieces = torch.fft.irfft(spectrum, window, dim=1) * hann[:, None]
        sound = torch.stack([added(piece, hop) for piece in pieces]) / overlapped(
            hann**2, frames, hop
        )
        skip = (window - hop) // 2
        return {"audio": framed(sound[:, None, skip : skip + frames * hop], hop, frames)}

    return state, {"": vocoder}


def added(pieces: Any, hop: int) -> Any:
    """Windows [N, F] on top of each other: [(F - 1) hop + N]."""
    import torch

    length, count = pieces.shape
    out = torch.zeros((count - 1) * hop + length)
    for i in range(count):
        out[i * hop : i * hop + length] += pieces[:, i]
    return out


def overlapped(window: Any, frames: int, hop: int) -> Any:
    return added(window[:, None].expand(-1, frames), hop)


VOCOS = {
    "model_type": "vocos",
    "input_channels": 6,
    "dim": 16,
    "intermediate_dim": 24,
    "num_layers": 2,
    "n_fft": 32,
    "hop_length": 8,
}
SPEAKING = {
    "vocos": Checkpointed(fields={**VOCOS, "padding": "center"}, made=vocos),
    "vocos, same": Checkpointed(fields={**VOCOS, "padding": "same"}, made=vocos),
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
