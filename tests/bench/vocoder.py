"""What a vocoder loses: recordings as log mel bands, and back, by one artifact or several.

    edge convert runs/vocoder/model --to onnx --quant fp32 -o artifacts/fp32      # and fp16, int8, …
    python tests/bench/vocoder.py lines.jsonl artifacts/fp32 artifacts/fp16 -o FOLDER [--out docs/vocoder.json]

Lines are those of tests/bench/judges.py, which then judges FOLDER/NAME.jsonl beside FOLDER/recorded.jsonl. Printed of
each artifact, means over lines with the middle 95 % of 1,000 draws: `mel`, the mean difference of log mel bands from
the recording's; `spectra`, as the recipe's cost; `factor`, seconds of work a second of sound on so many threads. Of
every artifact but the first, what it makes beside the first: `snr` of the waveform in dB, `mel_apart`, `most`, the
largest difference of a sample. `griffin-lim` in an artifact's place is Griffin and Lim's algorithm (60 rounds), which
learns nothing. `--rounds 0 4 8`: each with so many rounds of `edge.audio.polish` after it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from judges import RATE, Line, interval, lines_of

from edge.artifact.manifest import Artifact
from edge.audio.polish import polished
from edge.audio.sound import open_sound
from edge.audio.spectra import MELS, filter_bank, log_mel
from edge.audio.wav import WavWriter
from edge.run.opening import open_net
from edge.train.speech.vocoder import Costs
from edge.typing import F32
from edge_runtimes.torch.speech.spectra import apart

BANDS = MELS["edge"]
HOP = BANDS.framing.hop
AT_ONCE, AROUND = 800, 100  # frames of a call, and more than any depends on beside its own
WINDOWS = Costs(mel=1, spectra=1).windows


def vocoded(net: Any, mel: F32, rounds: int) -> F32:
    """[T, M] -> [200 T], in pieces that know what is around them."""
    parts = []
    for start in range(0, len(mel), AT_ONCE):
        before = min(start, AROUND)
        given = mel[start - before : start + AT_ONCE + AROUND][None]
        audio = net(mel=given, frame_mask=np.ones(given.shape[:2], np.float32))["audio"]
        samples = polished(np.asarray(audio, np.float32).reshape(-1), given[0], BANDS, rounds)
        parts.append(samples.reshape(-1, HOP)[before : before + AT_ONCE].reshape(-1))
    made: F32 = np.concatenate(parts)
    return made


def guessed(mel: F32) -> F32:
    """[T, M] -> [200 T]: phases that fit each other, of magnitudes that have these bands (Griffin & Lim, 1984)."""
    filters = torch.from_numpy(filter_bank(BANDS)).float()
    loud = (torch.from_numpy(np.exp(mel)) @ torch.linalg.pinv(filters)).clamp(min=0).T  # [F, T]
    window = torch.hann_window(BANDS.framing.window)
    how: Any = {
        "n_fft": BANDS.transform,
        "hop_length": HOP,
        "win_length": window.numel(),
        "window": window,
    }
    x = loud * torch.exp(
        2j * np.pi * torch.rand(loud.shape, generator=torch.Generator().manual_seed(0))
    )
    for _ in range(60):
        sound = torch.istft(x, **how)
        again = torch.stft(sound, return_complex=True, **how)[:, : loud.shape[1]]
        x = loud * again / again.abs().clamp(min=1e-8)
    samples = torch.istft(x, **how).numpy()
    # Its frames are centred on hops, ours on their middles.
    made: F32 = np.pad(samples, (HOP // 2, HOP))[: HOP * len(mel)]
    return made


def maker(at: Path, threads: int, rounds: int) -> Callable[[F32], F32]:
    if at.name == "griffin-lim":
        return guessed
    net = open_net(Artifact.open(at), threads=threads)
    return lambda mel: vocoded(net, mel, rounds)


def written(folder: Path, name: str, lines: Sequence[Line], sounds: Sequence[F32]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (line, samples) in enumerate(zip(lines, sounds, strict=True)):
        file = folder / name / f"{number:04}.wav"
        with file.open("wb") as stream, WavWriter(stream, RATE) as wav:
            wav.write(samples)
        row = {"sound": f"{name}/{file.name}", "text": line.text, "voice": line.voice}
        rows.append(json.dumps(row) + "\n")
    (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")


def spectra(made: F32, real: F32) -> float:
    pair = [torch.from_numpy(one)[None] for one in (made, real)]
    return float(torch.stack([apart(*pair, window) for window in WINDOWS]).mean())


def figures(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        name: interval(lambda some, name=name: float(table[name][some].mean()), range(len(rows)))
        for name in table
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("lines", type=Path)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("-o", dest="folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, nargs="+", default=[0], help="of polishing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = lines_of(given.lines)
    real = [open_sound(line.sound, rate=RATE).samples for line in lines]
    real = [samples[: samples.size // HOP * HOP] for samples in real]
    written(given.folder, "recorded", lines, real)
    bands = [log_mel(samples, BANDS) for samples in real]
    found: dict[str, Any] = {"lines": len(lines), "seconds": sum(s.size for s in real) / RATE}
    first: list[F32] = []
    for at, rounds in product(given.artifacts, given.rounds):
        name = f"{at.name}-{rounds}" if len(given.rounds) > 1 else at.name
        make = maker(at, given.threads, rounds)
        make(bands[0])  # warms up
        begun = perf_counter()
        sounds = [make(mel) for mel in bands]
        took = perf_counter() - begun
        rows = []
        for number, (samples, mel) in enumerate(zip(sounds, bands, strict=True)):
            again = log_mel(samples, BANDS)
            row = {
                "mel": float(np.abs(again - mel).mean()),
                "spectra": spectra(samples, real[number]),
            }
            if first:
                noise = samples.astype(np.float64) - first[number]
                power = np.square(first[number], dtype=np.float64).mean()
                row |= {
                    "snr": float(10 * np.log10(power / np.square(noise).mean())),
                    "mel_apart": float(np.abs(again - log_mel(first[number], BANDS)).mean()),
                    "most": float(np.abs(noise).max()),
                }
            rows.append(row)
        first = first or sounds
        found[name] = figures(rows) | {"factor": round(took / found["seconds"], 5)}
        written(given.folder, name, lines, sounds)
    print(json.dumps(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
