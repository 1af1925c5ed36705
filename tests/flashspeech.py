"""FlashSpeech's networks as slow code over tensors under the names of its public code: one utterance at a time,
heads in a loop, phonemes repeated in a loop.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Fields = Mapping[str, Any]


def shapes(fields: Fields) -> dict[str, tuple[int, ...]]:
    """Every tensor that its code saves, but for the codec's."""
    prior, prompt = fields["prior_encoder"], fields["prompt_encoder"]
    width = prompt["encoder_hidden"]
    out = linear("prompt_lin", width, fields["latent_dim"])
    out |= encoder("prompt_encoder.", prompt, styled=False)
    out |= {"query_emb.weight": (fields["query_emb"]["query_token_num"], width)}
    out |= attention("query_attn", width)
    out |= {"prior_encoder.enc_emb_tokens.weight": (prior["vocab_size"], width)}
    out |= encoder("prior_encoder.encoder.", prior["encoder"], styled=True)
    for name in ("duration_predictor", "pitch_predictor"):
        out |= predictor(f"prior_encoder.{name}.", prior[name])
    out |= {"prior_encoder.pitch_embedding.weight": (prior["pitch_bins_num"], width)}
    out |= {"prior_encoder.pitch_bins": (prior["pitch_bins_num"] - 1,)}
    out |= wavenet("diffusion.diff_estimator.", fields["diffusion"]["wavenet"])
    return out | refiners(fields)


def linear(name: str, rows: int, *columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, *columns), f"{name}.bias": (rows,)}


def attention(name: str, width: int) -> dict[str, tuple[int, ...]]:
    whole = {f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,)}
    return whole | linear(f"{name}.out_proj", width, width)


def encoder(at: str, fields: Fields, *, styled: bool) -> dict[str, tuple[int, ...]]:
    width, wide = fields["encoder_hidden"], fields["conv_filter_size"]

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return linear(f"{name}.style", 2 * width, width) if styled else linear(name, width)

    out = {f"{at}position_emb.pe": (50, 1, width)}
    for i in range(fields["encoder_layer"]):
        layer = f"{at}layers.{i}."
        out |= norm(f"{layer}ln_1") | norm(f"{layer}ln_2") | attention(f"{layer}self_attn", width)
        out |= linear(f"{layer}ffn.ffn_1", wide, width, fields["conv_kernel_size"])
        out |= linear(f"{layer}ffn.ffn_2", width, wide)
    return out | norm(f"{at}last_ln")


def predictor(at: str, fields: Fields) -> dict[str, tuple[int, ...]]:
    width, out = fields["filter_size"], dict[str, tuple[int, ...]]()
    for i in range(fields["conv_layers"]):
        out |= linear(f"{at}conv.{i}.0", width, width, fields["kernel_size"])
        out |= linear(f"{at}conv.{i}.2", width)
    for i in range(-(-fields["conv_layers"] // fields["cross_attn_per_layer"])):
        out |= attention(f"{at}cattn.{i}.0", width) | linear(f"{at}cattn.{i}.1", width)
    return out | linear(f"{at}linear", 1, width)


def wavenet(at: str, fields: Fields) -> dict[str, tuple[int, ...]]:
    width = fields["hidden_size"]
    out = linear(f"{at}in_proj", width, fields["input_size"], 1) | linear(f"{at}cond_ln", width)
    out |= linear(f"{at}mlp.0", 4 * width, width) | linear(f"{at}mlp.2", width, 4 * width)
    for i in range(fields["num_layers"]):
        layer = f"{at}layers.{i}."
        out |= linear(f"{layer}dilated_conv", 2 * width, width, 3)
        out |= linear(f"{layer}diffusion_proj", width, width)
        out |= linear(f"{layer}cond_proj", 2 * width, width, 1)
        out |= linear(f"{layer}out_proj", 2 * width, width, 1)
        if attends(fields, i):
            out |= attention(f"{layer}attn", width) | linear(f"{layer}ln", width)
            out |= linear(f"{layer}film.gain", 2 * width, width)
            out |= linear(f"{layer}film.bias", 2 * width, width)
    out |= linear(f"{at}skip_proj", width, width, 1)
    return out | linear(f"{at}out_proj", fields["out_size"], width, 1)


def attends(fields: Fields, layer: int) -> bool:
    every = fields["cross_attn_per_layer"]
    return every is not None and layer % every == 0


def refiners(fields: Fields) -> dict[str, tuple[int, ...]]:
    """Every tensor of what refines prosody, where a checkpoint has that."""
    out = dict[str, tuple[int, ...]]()
    for name, own in (fields.get("refiner") or {}).items():
        one = {"input_size": 1, "out_size": 1, "cross_attn_per_layer": None}
        out |= wavenet(f"refiner.{name}.", {**own, **one})
        if "feature_size" in own:
            out |= linear(f"refiner.{name}.feature_proj", own["hidden_size"], own["feature_size"])
    return out


class Slow:
    """What each network computes of one utterance, in float64. `state`: tensors by name."""

    def __init__(self, fields: Fields, state: Mapping[str, np.ndarray]) -> None:
        import torch

        self.fields = fields
        self.w = {name: torch.tensor(x, dtype=torch.float64) for name, x in state.items()}

    def linear(self, x: Any, name: str) -> Any:
        weight = self.w[f"{name}.weight"]
        return x @ weight.reshape(len(weight), -1).T + self.w[f"{name}.bias"]

    def conv(self, x: Any, name: str, far: int = 1) -> Any:
        """[T, C] -> [T, O], as long as before."""
        import torch

        weight = self.w[f"{name}.weight"]
        side = (weight.shape[2] - 1) // 2 * far
        out = torch.nn.functional.conv1d(
            x.T[None], weight, self.w[f"{name}.bias"], padding=side, dilation=far
        )
        return out[0].T

    def normed(self, x: Any, name: str, style: Any = None) -> Any:
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        if style is None:
            return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]
        scale, shift = self.linear(style, f"{name}.style").chunk(2)
        return scale * x + shift

    def attend(self, x: Any, others: Any, name: str, heads: int) -> Any:
        import torch

        parts = zip(
            self.w[f"{name}.in_proj_weight"].chunk(3),
            self.w[f"{name}.in_proj_bias"].chunk(3),
            strict=True,
        )
        q, k, v = (
            rows @ weight.T + bias
            for rows, (weight, bias) in zip((x, others, others), parts, strict=True)
        )
        out = [
            (a @ b.T / math.sqrt(a.shape[1])).softmax(-1) @ c
            for a, b, c in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True)
        ]
        return self.linear(torch.cat(out, 1), f"{name}.out_proj")

    def encoder(self, x: Any, at: str, fields: Fields, style: Any = None) -> Any:

        x = x + self.positions(*x.shape)
        for i in range(fields["encoder_layer"]):
            layer = f"{at}layers.{i}."
            h = self.normed(x, f"{layer}ln_1", style)
            x = x + self.attend(h, h, f"{layer}self_attn", fields["encoder_head"])
            h = self.conv(self.normed(x, f"{layer}ln_2", style), f"{layer}ffn.ffn_1").relu()
            x = x + self.linear(h, f"{layer}ffn.ffn_2")
        return self.normed(x, f"{at}last_ln", style)

    def positions(self, rows: int, width: int) -> Any:
        """The first row's, of the public code; or each row's own."""
        import torch

        out = torch.zeros(rows, width, dtype=torch.float64)
        for t in range(rows if self.fields.get("positions") == "own" else 1):
            for i in range(width // 2):
                turn = t * 10_000 ** (-i / (width // 2))
                out[t, 2 * i], out[t, 2 * i + 1] = math.sin(turn), math.cos(turn)
        return out if self.fields.get("positions") == "own" else out[0]

    def prompt(self, prompt: Any) -> dict[str, Any]:
        fields = self.fields["prompt_encoder"]
        rows = self.encoder(self.linear(prompt, "prompt_lin"), "prompt_encoder.", fields)
        heads = self.fields["query_emb"]["head_num"]
        tokens = self.attend(self.w["query_emb.weight"], rows, "query_attn", heads)
        return {"rows": rows, "tokens": tokens, "style": rows.mean(0, keepdim=True)}

    def phonemes(self, phonemes: Any, style: Any) -> dict[str, Any]:
        x = self.w["prior_encoder.enc_emb_tokens.weight"][phonemes]
        fields = self.fields["prior_encoder"]["encoder"]
        return {"hidden": self.encoder(x, "prior_encoder.encoder.", fields, style[0])}

    def predictor(self, x: Any, rows: Any, name: str) -> dict[str, Any]:
        fields, at = self.fields["prior_encoder"][name], f"prior_encoder.{name}."
        for i in range(fields["conv_layers"]):
            before = x
            if i % fields["cross_attn_per_layer"] == 0:
                look = f"{at}cattn.{i // fields['cross_attn_per_layer']}."
                seen = self.attend(
                    self.normed(x, f"{look}1"), rows, f"{look}0", fields["attn_head"]
                )
                x = (x + seen) / math.sqrt(2)
            x = self.normed(self.conv(x, f"{at}conv.{i}.0").relu(), f"{at}conv.{i}.2")
            x = x + before if i else x
        return {"log": self.linear(x, f"{at}linear")[:, 0], "features": x}

    def duration(self, hidden: Any, rows: Any) -> dict[str, Any]:
        return self.predictor(hidden, rows, "duration_predictor")

    def pitch(self, hidden: Any, alignment: Any, rows: Any, frames: int) -> dict[str, Any]:
        import torch

        x = torch.stack([hidden[int(alignment[i])] for i in range(frames)])
        return {**self.predictor(x, rows, "pitch_predictor"), "repeated": x}

    def condition(self, repeated: Any, log_pitch: Any) -> dict[str, Any]:
        """By exp(y) - 1, as its training has it."""
        import torch

        prior = self.fields["prior_encoder"]
        ends = [math.log(prior[key]) for key in ("pitch_min", "pitch_max")]
        bins = torch.linspace(*ends, prior["pitch_bins_num"] - 1, dtype=torch.float64).exp()
        which = torch.bucketize(log_pitch.exp() - 1, bins)
        return {"condition": repeated + self.w["prior_encoder.pitch_embedding.weight"][which]}

    def denoiser(self, latent: Any, sigma: float, condition: Any, tokens: Any) -> dict[str, Any]:
        fields = self.fields["diffusion"]["wavenet"]
        where = "diffusion.diff_estimator.", fields
        return {"clean": self.denoised(latent, sigma, condition, tokens, *where)}

    def refiner(
        self, noisy: Any, sigma: float, features: Any, initial: Any, alpha: float, name: str
    ) -> dict[str, Any]:
        """The same of one channel, which sees no prompt."""
        fields = {**self.fields["refiner"][name], "cross_attn_per_layer": None}
        if "feature_size" in fields:
            features = self.linear(features, f"refiner.{name}.feature_proj")
        residual = self.denoised(noisy[:, None], sigma, features, None, f"refiner.{name}.", fields)
        return {"refined": initial + alpha * residual[:, 0]}

    def denoised(
        self, x: Any, sigma: float, condition: Any, tokens: Any, at: str, fields: Fields
    ) -> Any:
        skip = 0.25 / ((sigma - 0.002) ** 2 + 0.25)
        out = (sigma - 0.002) * 0.5 / math.sqrt(sigma**2 + 0.25)
        scaled, noise = x / math.sqrt(sigma**2 + 0.25), math.log(sigma) / 4
        return skip * x + out * self.wavenet(scaled, noise, condition, tokens, at, fields)

    def wavenet(
        self, x: Any, noise: float, condition: Any, tokens: Any, at: str, fields: Fields
    ) -> Any:
        import torch

        half = fields["hidden_size"] // 2
        turns = noise * torch.tensor(
            [10_000 ** (-i / (half - 1)) for i in range(half)], dtype=torch.float64
        )
        h = self.linear(torch.cat([turns.sin(), turns.cos()]), f"{at}mlp.0")
        step = self.linear(h * (1 + h.exp()).log().tanh(), f"{at}mlp.2")
        condition = self.normed(condition, f"{at}cond_ln")
        x, skips = self.conv(x, f"{at}in_proj").relu(), []
        for i in range(fields["num_layers"]):
            layer = f"{at}layers.{i}."
            y = x + self.linear(step, f"{layer}diffusion_proj")
            mixed = self.conv(y, f"{layer}dilated_conv", 2 ** (i % fields["dilation_cycle"]))
            mixed = mixed + self.linear(condition, f"{layer}cond_proj")
            if attends(fields, i):
                seen = self.attend(
                    self.normed(y, f"{layer}ln"), tokens, f"{layer}attn", fields["attn_head"]
                )
                mixed = mixed * self.linear(seen, f"{layer}film.gain") + self.linear(
                    seen, f"{layer}film.bias"
                )
            gate, signal = mixed.chunk(2, 1)
            more, skip = self.linear(gate.sigmoid() * signal.tanh(), f"{layer}out_proj").chunk(2, 1)
            x, skips = (x + more) / math.sqrt(2), [*skips, skip]
        total = sum(skips) / math.sqrt(len(skips))
        return self.linear(self.linear(total, f"{at}skip_proj").relu(), f"{at}out_proj")
