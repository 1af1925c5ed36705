"""The MLX target against numpy, against mlx-lm on the same folder, and against ONNX in text."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import CONFIGS, VOCAB, config_of, converted, dividing, tiny

import edge
from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import Numerics, Opening
from edge.errors import Unsupported
from edge.protocols import Decoder
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.source.checkpoint import Checkpoint
from edge.typing import F32

mx = pytest.importorskip("mlx.core")

from edge_runtimes import mlx  # noqa: E402

IDS = np.random.default_rng(0).integers(0, VOCAB, 60).tolist()
BITS, GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)


def near(got: F32, want: F32, tolerance: float = 1e-4) -> bool:
    seen = np.isfinite(want)  # a forbidden id is at minus infinity
    assert (np.isfinite(got) == seen).all()
    return bool(np.abs(got[seen] - want[seen]).max() <= tolerance * np.abs(want[seen]).max())


def oracle(source: Path, recipe: str = "fp32", **numerics: Any) -> Decoder:
    found = Checkpoint.open(source)
    kind = recipes.parse(recipe, aliases=targets.converter("mlx").ALIASES)
    return targets.oracle().oracle(found, kind, numerics=Numerics(tolerance=0, **numerics))


# A plain checkpoint is an mlx-lm folder, too: no conversion stands between these and numpy.


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_chunks_steps_and_rewinding(family: str, compiled: bool, tmp_path: Path) -> None:
    """Past the windows of 9 and 11, and past what block-sparse attention sees at once."""
    source = tiny(tmp_path / "it", family)
    want = oracle(source).score(IDS)
    decoder = mlx.open(Opening(source, Checkpoint.open(source).spec), compiled=compiled)
    assert near(decoder.score(IDS), want)
    decoder.rewind(0)
    got = [decoder.prefill(IDS[:17]), *(decoder.step(token) for token in IDS[17:40])]
    assert near(np.stack(got), want[16:40])
    decoder.rewind(20)
    assert decoder.length == 20
    assert near(decoder.prefill(IDS[20:33]), want[32])
    assert near(decoder.step(IDS[33]), want[33])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_long_prompts_in_chunks_and_a_cache_that_grows(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtimes.mlx.computing.CHUNK", 100)
    source = tiny(tmp_path / "it", "mistral", max_position_embeddings=600, sliding_window=130)
    ids = np.random.default_rng(1).integers(0, VOCAB, 530).tolist()
    want = oracle(source).score(ids)
    decoder = mlx.open(Opening(source, Checkpoint.open(source).spec), compiled=compiled)
    assert near(decoder.prefill(ids[:250]), want[249])
    got = [decoder.step(token) for token in ids[250:270]]  # a cache of 256 rows becomes one of 512
    assert near(np.stack(got), want[250:270])
    assert near(decoder.prefill(ids[270:520]), want[519])
    decoder.rewind(0)
    assert near(decoder.score(ids), want)
    assert decoder.capacity == 600


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_sparse_attention_past_its_reach(compiled: bool, tmp_path: Path) -> None:
    """Blocks of 4, two of them local: most of 60 tokens are hidden from some head."""
    source = tiny(
        tmp_path / "it", "phi3small", blocksparse_block_size=4, blocksparse_num_local_blocks=2,
        blocksparse_vert_stride=3,
    )  # fmt: skip
    want = oracle(source).score(IDS)
    decoder = mlx.open(Opening(source, Checkpoint.open(source).spec), compiled=compiled)
    got = [decoder.prefill(IDS[:31]), *(decoder.step(token) for token in IDS[31:])]
    assert near(np.stack(got), want[30:])


def test_a_decoder_may_go_from_thread_to_thread(tmp_path: Path) -> None:
    """As the server's does: MLX has streams and compiled graphs of each thread's own."""
    source = tiny(tmp_path / "it", "llama")
    spec, want = Checkpoint.open(source).spec, oracle(source).score(IDS[:12])
    for _ in range(3):
        decoder = mlx.open(Opening(source, spec), compiled=False)
        got = [decoder.prefill(IDS[:4]), *(elsewhere(decoder.step, token) for token in IDS[4:12])]
        assert near(np.stack(got), want[3:])


def elsewhere(call: Callable[[int], F32], token: int) -> F32:
    """The result of a call in a thread that ends after it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, token).result()


def test_a_compiled_step_is_never_that_of_another_model(tmp_path: Path) -> None:
    """MLX finds what it compiled by an address, which a freed function leaves to the next."""
    for seed in range(6):
        source = tiny(tmp_path / str(seed), "llama", seed=seed)
        decoder = mlx.open(Opening(source, Checkpoint.open(source).spec), compiled=True)
        decoder.prefill(IDS[:5])
        assert near(decoder.step(IDS[5]), oracle(source).score(IDS[:6])[-1])


def test_decoders_of_one_folder_share_its_weights(tmp_path: Path) -> None:
    source = tiny(tmp_path / "it", "llama")
    spec = Checkpoint.open(source).spec
    first = mlx.open(Opening(source, spec))
    held = mx.get_active_memory()
    second = mlx.open(Opening(source, spec))
    assert mx.get_active_memory() - held < 10_000
    assert near(second.prefill(IDS[:5]), first.prefill(IDS[:5]))
    exact = mlx.open(Opening(source, spec, exact=True))
    assert mx.get_active_memory() - held > 100_000
    assert exact.length == 0


def test_a_number_of_threads_is_refused(tmp_path: Path) -> None:
    source = tiny(tmp_path / "it", "llama")
    with pytest.raises(Unsupported, match="2 threads were asked for"):
        mlx.open(Opening(source, Checkpoint.open(source).spec, threads=2))


# Quantized


@pytest.mark.parametrize("zero", ["", "-asym", "-min"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("bits", BITS)
def test_every_packing_is_its_codes(bits: int, group: int, zero: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 128}
    source = tiny(tmp_path / "source", "llama", **sizes)
    recipe = f"rtn-int{bits}-g{group}{zero}" + ("" if zero == "-asym" else "-fp16")
    out = converted(tmp_path / "out", source, recipe, target="mlx")
    want = oracle(source, recipe, vectors="fp32" if zero == "-asym" else "fp16").score(IDS)
    decoder = mlx.open(Opening(out, Artifact.open(out).manifest.spec, exact=True))
    assert near(decoder.score(IDS), want, 1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_words_are_those_of_mlx(bits: int) -> None:
    from edge.quant.stream import packed as words

    values = mx.array(np.random.default_rng(bits).normal(size=(7, 128)).astype(np.float32))
    packed, scales, biases = mx.quantize(values, group_size=32, bits=bits)
    meant = np.array(mx.dequantize(packed, scales, biases, group_size=32, bits=bits))
    wide = (np.repeat(np.array(part), 32, axis=1) for part in (scales, biases))
    scale, bias = wide
    codes = np.rint((meant - bias) / scale).astype(np.uint8)
    assert words(codes, bits).tobytes() == np.array(packed).tobytes()


def test_a_changed_scale_fails_the_proof(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **dividing("llama"))
    artifact = Artifact.open(converted(tmp_path / "out", source, "int4", target="mlx"))
    assert verify(artifact, source, tokens=8).passed
    file = artifact.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 0x10  # of the last scale or bias: its high byte
    file.write_bytes(content)
    report = verify(artifact, source, tokens=8)
    assert not report.passed
    assert report.differing_bytes == 1
    assert report.changed_files == ("model.safetensors",)


# mlx-lm


class Peer:
    """mlx-lm over a folder: `edge.protocols.Decoder` as far as these tests need.

    `singly`: it reads prompts a token at a time. Its Phi-3-small adds a mask of booleans to scores,
    and so gets a prompt of several tokens wrong.
    """

    def __init__(self, folder: Path, *, singly: bool = False) -> None:
        utils = pytest.importorskip("mlx_lm.utils")
        from mlx_lm.models.cache import make_prompt_cache

        self.model, self.config = utils.load_model(folder)
        self._cache = make_prompt_cache(self.model)
        self._singly = singly

    def prefill(self, tokens: list[int]) -> F32:
        for chunk in [[token] for token in tokens] if self._singly else [tokens]:
            logits = self.model(mx.array([chunk]), cache=self._cache)
        return np.array(logits[0, -1].astype(mx.float32))

    def step(self, token: int) -> F32:
        return self.prefill([token])


def greedy(decoder: Any, prompt: list[int], count: int) -> Iterator[tuple[int, F32]]:
    """Tokens, and the logits that each was chosen from."""
    logits = decoder.prefill(prompt)
    for _ in range(count):
        token = int(logits.argmax())
        yield token, logits
        logits = decoder.step(token)


PEERS = {
    "llama": {}, "mistral": {"sliding_window": None}, "phi3": {"sliding_window": None},
    "openelm": {}, "internlm2": {},
    # mlx-lm knows by number which ids are never predicted, and has no blocks of 4
    "phi3small": {
        "vocab_size": 100352, "dummy_token_indices": None, "blocksparse_block_size": 32,
    },
    "qwen2": {}, "qwen2 tied": {"tie_word_embeddings": True}, "qwen2 without a base": {"rope_theta": None},
    "qwen3": {}, "qwen3 tied, without sizes of heads": {
        "tie_word_embeddings": True, "head_dim": None, "max_position_embeddings": None,
    },
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama tied": {"tie_word_embeddings": True},
    "llama 3": {
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        },
        "original_max_position_embeddings": 16,
    },
    "llama, transformers 5": {
        "rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e3},
    },
}  # fmt: skip


WIDE, NARROW = ("fp32", "rtn-int4-g64-min"), ("bf16", "int4", "mixed")
CASES = [
    (case, recipe)
    for case in PEERS
    for recipe in (*WIDE, *NARROW)
    if case != "phi3small" or recipe in WIDE  # a CPU takes long for so many ids in float16
]


@pytest.mark.parametrize(("case", "recipe"), CASES)
def test_mlx_lm_says_the_same_on_the_same_folder(case: str, recipe: str, tmp_path: Path) -> None:
    family = case.split(",")[0].split(" ")[0]
    source = tiny(tmp_path / "source", family, **{**dividing(family), **PEERS[case]})
    mixed = {"overrides": {"layers.0.mlp.down": "int8", "layers.1.attn.o": "fp16"}}
    options = mixed if recipe == "mixed" else {}
    quant = "int4" if recipe == "mixed" else recipe
    out = converted(tmp_path / "out", source, quant, target="mlx", **options)
    decoder = mlx.open(Opening(out, Artifact.open(out).manifest.spec, exact=True))
    narrow = recipe in NARROW  # mlx-lm computes in the type of scales
    tolerance = {True: 8e-2 if recipe == "bf16" else 2e-2, False: 1e-4}[narrow]
    peer = Peer(out, singly=family == "phi3small")
    pairs = zip(greedy(decoder, IDS[:36], 24), greedy(peer, IDS[:36], 24), strict=True)
    for (ours, logits), (theirs, others) in pairs:
        assert near(logits, others, tolerance)
        if ours != theirs:  # a tie, as far as the narrow type can tell
            assert narrow
            error = np.abs(np.where(np.isfinite(others), logits - others, 0)).max()
            assert logits.max() - logits[theirs] <= 2 * error
            break


def test_a_folder_that_mlx_lm_made(tmp_path: Path) -> None:
    """Read as it is: fused tensors, its own choice of codes, a precision of its own for one matrix."""
    utils = pytest.importorskip("mlx_lm.utils")
    source = tiny(tmp_path / "source", "phi3", **dividing("phi3"))
    model, config = utils.load_model(source)

    def eight(path: str, _: Any) -> dict[str, Any] | bool:
        return {"group_size": 32, "bits": 8} if path.endswith("layers.1.mlp.down_proj") else True

    model, config = utils.quantize_model(model, config, 64, 4, quant_predicate=eight)
    folder = tmp_path / "made"
    utils.save_model(folder, model)
    utils.save_config(config, folder / "config.json")
    assert json.loads((folder / "config.json").read_text())["quantization"]["bits"] == 4
    decoder = mlx.open(Opening(folder, Checkpoint.open(source).spec))
    assert near(decoder.prefill(IDS[:9]), Peer(folder).prefill(IDS[:9]))


# Text


def text(folder: Path, prompt: str, count: int) -> str:
    model = edge.load(folder)
    wish = edge.run.model.Wish(max_tokens=count)
    return "".join(model.generate(prompt, raw=True, wish=wish))


def test_a_real_model_tells_the_same_story_as_on_onnx(assets: Path, tmp_path: Path) -> None:
    source = assets / "llm" / "stories-260k"
    told = {
        target: text(converted(tmp_path / target, source, target=target), "Once upon a time", 100)
        for target in ("onnx", "mlx")
    }
    assert told["mlx"] == told["onnx"]
    assert "a little girl named Lily" in told["mlx"]


def test_the_packaged_model_answers_the_same_as_on_onnx(tmp_path: Path) -> None:
    source = Path(edge.__file__).parent / "models" / "edge-stories"
    prompt = "Once upon a time"
    told = {
        target: text(converted(tmp_path / target, source, target=target), prompt, 60)
        for target in ("onnx", "mlx")
    }
    assert told["mlx"] == told["onnx"]
    assert len(told["mlx"]) > 100


def test_config_of_a_window_is_kept_for_our_runtime(tmp_path: Path) -> None:
    """mlx-lm knows no window of phi3; ours is proved past it by the matrix, whose prompts are longer."""
    source = tiny(tmp_path / "source", "phi3")
    out = converted(tmp_path / "out", source, target="mlx")
    window = config_of("phi3")["sliding_window"]
    assert json.loads((out / "config.json").read_text())["sliding_window"] == window
    ours = mlx.open(Opening(out, Artifact.open(out).manifest.spec))
    assert near(ours.prefill(IDS[:window]), Peer(out).prefill(IDS[:window]))
    ours.rewind(0)
    assert not near(ours.prefill(IDS[: 3 * window]), Peer(out).prefill(IDS[: 3 * window]))
