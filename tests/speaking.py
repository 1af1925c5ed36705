"""Checkpoints of speech with random weights, each by code that is not ours: what a whole one is, and what each of
its networks computes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flashspeech as slow
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


def encodec(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    import torch
    import transformers

    model = transformers.EncodecModel(transformers.EncodecConfig(**fields))
    shaken(model)
    generator = torch.Generator().manual_seed(3)
    for layer in model.quantizer.layers:
        layer.codebook.embed.copy_(torch.randn(layer.codebook.embed.shape, generator=generator))
    hop = int(np.prod(fields["upsampling_ratios"]))

    def encoder(audio: np.ndarray, **_: np.ndarray) -> Arrays:
        return {"latent": last(model.encoder(first(audio.reshape(len(audio), -1, 1))))}

    def quantizer(codes: np.ndarray, **_: np.ndarray) -> Arrays:
        books = torch.tensor(codes).permute(2, 0, 1)
        return {"latent": last(model.quantizer.decode(books))}

    def decoder(latent: np.ndarray, **_: np.ndarray) -> Arrays:
        return {"audio": framed(model.decoder(first(latent)), hop, latent.shape[1])}

    state = {name: value.numpy() for name, value in model.state_dict().items()}
    return state, {"encoder": encoder, "quantizer": quantizer, "decoder": decoder}


def backbone(fields: Mapping[str, Any], rows: int) -> tuple[Any, Callable[[Any], Any]]:
    """ConvNeXt's layers in plain torch, under Vocos' names, and a head of so many rows; what they make of [B, C, T]."""
    from torch import nn

    width = fields["dim"]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.pwconv1 = nn.Linear(width, fields["intermediate_dim"])
            self.pwconv2 = nn.Linear(fields["intermediate_dim"], width)
            self.gamma = nn.Parameter(nn.init.ones_(self.norm.weight.new_empty(width)))

        def forward(self, x: Any) -> Any:
            h = self.norm(self.dwconv(x).mT)
            return x + (self.gamma * self.pwconv2(nn.functional.gelu(self.pwconv1(h)))).mT

    model = nn.Module()
    model.backbone, model.head = nn.Module(), nn.Module()
    model.backbone.embed = nn.Conv1d(fields["input_channels"], width, 7, padding=3)
    model.backbone.norm = nn.LayerNorm(width, eps=1e-6)
    model.backbone.convnext = nn.ModuleList(Block() for _ in range(fields["num_layers"]))
    model.backbone.final_layer_norm = nn.LayerNorm(width, eps=1e-6)
    model.head.out = nn.Linear(width, rows)

    def features(x: Any) -> Any:
        x = model.backbone.norm(model.backbone.embed(x).mT).mT
        for block in model.backbone.convnext:
            x = block(x)
        return model.backbone.final_layer_norm(x.mT)

    return model, features


def recognizer(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    model, features = backbone(fields, fields["num_sounds"])

    def recognized(mel: np.ndarray, **_: np.ndarray) -> Arrays:
        found = features(first(mel - mel.mean(1, keepdims=True)))
        logits = model.head.out(found)
        return {"logits": logits.detach().numpy(), "features": found.detach().numpy()}

    return shaken(model), {"": recognized}


def vocos(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    """The paper's layers in plain torch, under the published names, and torch's own inverse transform."""
    import torch
    from torch import nn

    hop, window = fields["hop_length"], fields["n_fft"]
    model, features = backbone(fields, window + 2)
    state = {**shaken(model), "head.istft.window": torch.hann_window(window).numpy()}

    def vocoder(mel: np.ndarray, **_: np.ndarray) -> Arrays:
        loud, phase = model.head.out(features(first(mel))).mT.chunk(2, dim=1)
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


def flashspeech(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    rng = np.random.default_rng(7)

    def random(name: str, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(shape)
        x = 0.7 + 0.2 * x if len(shape) == 1 else x / np.sqrt(np.prod(shape[1:]))
        return x.astype(np.float32)

    state = {name: random(name, shape) for name, shape in slow.shapes(fields).items()}
    one = slow.Slow(fields, state)
    calls: dict[str, Callable[..., Mapping[str, Any]]] = {
        "prompt": lambda prompt, **_: one.prompt(prompt),
        "phonemes": lambda phonemes, style, **_: one.phonemes(phonemes.int(), style),
        "duration": lambda hidden, rows, **_: one.duration(hidden, rows),
        "pitch": lambda hidden, rows, alignment, frame_mask, **_: one.pitch(
            hidden, alignment, rows, len(frame_mask)
        ),
        "condition": lambda repeated, log_pitch, **_: one.condition(repeated, log_pitch),
        "denoiser": lambda latent, sigma, condition, tokens, **_: one.denoiser(
            latent, float(sigma), condition, tokens
        ),
    }

    for name in fields.get("refiner") or {}:
        calls[f"{name}_refiner"] = lambda noisy, sigma, features, initial, alpha, name=name, **_: (
            one.refiner(noisy, float(sigma), features, initial, float(alpha), name)
        )

    def batched(call: Callable[..., Mapping[str, Any]]) -> Reference:
        import torch

        def reference(**inputs: np.ndarray) -> Arrays:
            count = len(next(iter(inputs.values())))
            rows = [
                call(
                    **{name: torch.tensor(x[i], dtype=torch.float64) for name, x in inputs.items()}
                )
                for i in range(count)
            ]
            return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}

        return reference

    return state, {name: batched(call) for name, call in calls.items()}


def edge_speech(fields: Mapping[str, Any]) -> tuple[State, Mapping[str, Reference]]:
    """FlashSpeech's networks with refinement, and a vocoder, in one checkpoint."""
    state, references = flashspeech(fields)
    own, vocoder = vocos(fields["vocoder"])
    state |= {f"vocoder.{name}": tensor for name, tensor in own.items()}
    references = {**references, "vocoder": vocoder[""]}
    if fields["recognizer"]:
        own, reads = recognizer(fields["recognizer"])
        state |= {f"recognizer.{name}": tensor for name, tensor in own.items()}
        references = {**references, "recognizer": reads[""]}
    return state, references


ENCODER = {
    "encoder_layer": 2,
    "encoder_hidden": 16,
    "encoder_head": 2,
    "conv_filter_size": 24,
    "conv_kernel_size": 5,
    "encoder_dropout": 0.2,
}
PREDICTOR = {
    "input_size": 16,
    "filter_size": 16,
    "kernel_size": 3,
    "conv_layers": 5,
    "cross_attn_per_layer": 3,
    "attn_head": 2,
    "drop_out": 0.5,
}
FLASHSPEECH = {
    "model_type": "flashspeech",
    "latent_dim": 6,
    "prior_encoder": {
        "vocab_size": 11,
        "pitch_min": 2,
        "pitch_max": 9,
        "pitch_bins_num": 12,
        "encoder": {**ENCODER, "use_cln": True},
        "duration_predictor": PREDICTOR,
        "pitch_predictor": {**PREDICTOR, "kernel_size": 5},
    },
    "diffusion": {
        "wavenet": {
            "input_size": 6,
            "hidden_size": 16,
            "out_size": 6,
            "num_layers": 5,
            "cross_attn_per_layer": 3,
            "dilation_cycle": 2,
            "attn_head": 2,
            "drop_out": 0.2,
        },
        "sigma": 1.0,
    },
    "prompt_encoder": {**ENCODER, "use_cln": False},
    "query_emb": {"query_token_num": 4, "hidden_size": 16, "head_num": 2},
    "inference_step": 4,
}
VOCOS = {
    "model_type": "vocos",
    "input_channels": 6,
    "dim": 16,
    "intermediate_dim": 24,
    "num_layers": 2,
    "n_fft": 32,
    "hop_length": 8,
}
RECOGNIZER = {
    "model_type": "edge_recognizer",
    "input_channels": 6,
    "dim": 16,
    "intermediate_dim": 24,
    "num_layers": 2,
    "num_sounds": 9,
}
_DENOISER = {**FLASHSPEECH["diffusion"]["wavenet"], "input_size": 80, "out_size": 80}
_REFINER = {"hidden_size": 16, "num_layers": 3, "dilation_cycle": 2}
_NARROW = {**_REFINER, "hidden_size": 8, "feature_size": 16}
EDGE_SPEECH = {
    **FLASHSPEECH,
    "model_type": "edge_speech",
    "positions": "own",
    "latent_dim": 80,
    "prior_encoder": {
        **FLASHSPEECH["prior_encoder"],
        "vocab_size": 96,
        "pitch_min": 50,
        "pitch_max": 600,
    },
    "diffusion": {"wavenet": _DENOISER},
    "refiner": {"duration": _REFINER, "pitch": _NARROW},
    "vocoder": {
        **VOCOS,
        "input_channels": 80,
        "n_fft": 800,
        "hop_length": 200,
        "padding": "same",
    },
    "recognizer": {
        "input_channels": 80,
        "dim": 16,
        "intermediate_dim": 24,
        "num_layers": 2,
        "num_sounds": 97,
    },
    "mel": "edge",
    "symbols": "edge-96",
    "latent": {"mean": -4.0, "scale": 3.0},
}
SPEAKING = {
    "edge_speech": Checkpointed(fields=EDGE_SPEECH, made=edge_speech),
    "recognizer": Checkpointed(fields=RECOGNIZER, made=recognizer),
    "flashspeech": Checkpointed(fields=FLASHSPEECH, made=flashspeech),
    "vocos": Checkpointed(fields={**VOCOS, "padding": "center"}, made=vocos),
    "vocos, same": Checkpointed(fields={**VOCOS, "padding": "same"}, made=vocos),
    "encodec": Checkpointed(
        fields={
            "model_type": "encodec",
            "num_filters": 4,
            "hidden_size": 6,
            "codebook_dim": 6,
            "codebook_size": 16,
            "upsampling_ratios": [4, 3, 2],
            "num_residual_layers": 2,
            "sampling_rate": 240,
            "target_bandwidths": [0.04, 0.12],
        },
        made=encodec,
    ),
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
