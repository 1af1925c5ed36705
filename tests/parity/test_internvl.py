"""InternVL from a checkpoint under the published names to an answer about pictures, on every target."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import internvls
import numpy as np
import pytest
from decoders import offering
from PIL import Image

from edge.artifact.pipeline import PipelineArtifact
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.decode import rounding
from edge.decode.snapkv import SnapKV
from edge.errors import Damaged, EdgeError, Unsupported
from edge.families import family_of, pipeline_of
from edge.files.config import Config
from edge.measure.inspection import parameters
from edge.pipelines.internvl import Conversation, InternVL, load_internvl, placed
from edge.quant.recipe import parse
from edge.run.model import Wish
from edge.run.strategy import Strategy
from edge.source.checkpoint import Checkpoint
from edge.spec import cache_bytes
from edge.text.tokenizer import Tokenizer
from edge.vision.pictures import Picture
from edge_runtimes.reference import oracle

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODULES = {"onnx": "onnxruntime", "mlx": "mlx.core", "torch": "torch", "coreml": "coremltools"}
WAYS: Mapping[str, tuple[str, Mapping[str, tuple[str, str | None]]]] = {
    **{target: (target, {}) for target in MODULES},
    "gguf beside onnx": ("onnx", {"text": ("gguf", None)}),
}
TOKENS = 8
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def picture(width: int, height: int, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


# One tile, four and a small one, twelve and a small one.
PICTURES = {"one": picture(9, 9), "five": picture(24, 24, 1), "thirteen": picture(64, 48, 2)}
GRIDS = {"one": (1, 1), "five": (2, 2), "thirteen": (4, 3)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, internvls.Rows]:
    folder = tmp_path_factory.mktemp("internvl") / "mini"
    return folder, internvls.write(folder)


@pytest.fixture(scope="module", params=WAYS)
def model(
    request: pytest.FixtureRequest,
    source: tuple[Path, internvls.Rows],
    tmp_path_factory: pytest.TempPathFactory,
) -> InternVL:
    target, parts = WAYS[request.param]
    pytest.importorskip(MODULES[target])
    if parts:
        pytest.importorskip("llama_cpp")
    out = tmp_path_factory.mktemp("out") / "it"
    made = convert_pipeline(source[0], out, Options(target=target, quant="fp32"), parts)
    return load_internvl(made.folder, exact=True, strategy=Strategy(reference=target == "coreml"))


def tiled(image: Picture, grid: tuple[int, int]) -> np.ndarray:
    """Tiles and the small picture by Pillow alone: [N, side, side, 3], as the tower takes them."""
    side, (columns, rows) = internvls.SIDE, grid
    whole = Image.fromarray(image.rgb)
    large = whole.resize((side * columns, side * rows), Image.Resampling.BICUBIC)
    cut = [
        large.crop((side * c, side * r, side * (c + 1), side * (r + 1)))
        for r in range(rows)
        for c in range(columns)
    ]
    cut += [whole.resize((side, side), Image.Resampling.BICUBIC)] if len(cut) > 1 else []
    every = np.stack([np.asarray(tile, np.float64) / 255 for tile in cut])
    return ((every - MEAN) / STD).astype(np.float32)


@pytest.mark.parametrize("name", PICTURES)
def test_rows_of_a_picture_are_those_of_torch(
    model: InternVL, source: tuple[Path, internvls.Rows], name: str
) -> None:
    shown = model.look(PICTURES[name])
    assert (shown.grid.columns, shown.grid.rows) == GRIDS[name]
    want = source[1](tiled(PICTURES[name], GRIDS[name]))
    assert len(shown.rows) == 4 * shown.grid.tiles
    got = shown.rows.reshape(want.shape)
    assert np.abs(got - want).max() / np.abs(want).max() <= 2e-5


def prompt(question: str, images: Sequence[str]) -> str:
    """As the reference spells it, a placeholder for each row."""
    shown = "".join(
        f"<img>{'<IMG_CONTEXT>' * 4 * count}</img>\n"
        for count in ((c * r + 1 if c * r > 1 else 1) for c, r in (GRIDS[i] for i in images))
    )
    return (
        f"<|im_start|>system\n{internvls.MESSAGE}<|im_end|>"
        f"<|im_start|>user\n{shown}{question}<|im_end|><|im_start|>assistant\n"
    )


def greedy(source: Path, rows: np.ndarray, ids: Sequence[int], place: int) -> list[int]:
    """In numpy: the tokens' rows from the table, the pictures' between them, one pass each."""
    with Checkpoint.open(source, stage="text") as checkpoint:
        decoder = oracle(checkpoint, parse("fp32"))
        fed = decoder.embed(ids)
        fed[np.array(ids) == place] = rows
        logits, out = decoder.prefill_rows(fed), []
        for _ in range(TOKENS):
            out.append(int(logits.argmax()))
            logits = decoder.step(out[-1])
        return out


@pytest.mark.parametrize("names", [(), ("one",), ("five",), ("thirteen",), ("five", "one", "five")])
def test_greedy_tokens_are_those_of_numpy(
    model: InternVL, source: tuple[Path, internvls.Rows], names: Sequence[str]
) -> None:
    wish = Wish(max_tokens=TOKENS)
    answer = model.generate("What is it?", images=[PICTURES[name] for name in names], wish=wish)
    for _ in answer:
        pass
    ids = model.tokenizer.encode(prompt("What is it?", names), special=True)
    assert list(answer.generation.prompt) == ids
    rows = [source[1](tiled(PICTURES[n], GRIDS[n])).reshape(-1, 64) for n in names]
    place = model.tokenizer.id_of("<IMG_CONTEXT>")
    assert place is not None
    want = greedy(source[0], np.concatenate(rows) if rows else np.zeros((0, 64)), ids, place)
    got = answer.generation.tokens
    assert got == want[: len(got)]
    assert len(got) == TOKENS or got[-1] in model.model.stop_ids


def test_the_most_tiles_of_all(model: InternVL, source: tuple[Path, internvls.Rows]) -> None:
    """Forty, and the small one: 164 rows."""
    image = picture(128, 80, 3)
    wish = Wish(max_tokens=TOKENS)
    answer = model.generate("What?", images=[image], most=40, wish=wish)
    list(answer)
    shown = f"<img>{'<IMG_CONTEXT>' * 164}</img>\n"
    text = prompt(f"{shown}What?", ())
    ids = model.tokenizer.encode(text, special=True)
    assert list(answer.generation.prompt) == ids
    place = model.tokenizer.id_of("<IMG_CONTEXT>")
    assert place is not None
    rows = source[1](tiled(image, (8, 5))).reshape(-1, 64)
    want = greedy(source[0], rows, ids, place)
    assert answer.generation.tokens == want[: len(answer.generation.tokens)]


@pytest.fixture(scope="module", params=[way for way in WAYS if way != "coreml"])
def cutting(
    request: pytest.FixtureRequest,
    source: tuple[Path, internvls.Rows],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """On a runtime whose cache can be cut with pictures in it."""
    target, parts = WAYS[request.param]
    pytest.importorskip(MODULES[target])
    if parts:
        pytest.importorskip("llama_cpp")
    out = tmp_path_factory.mktemp("cutting") / "it"
    return convert_pipeline(source[0], out, Options(target=target, quant="fp32"), parts).folder


CUT = SnapKV(capacity=24, window=8)


def answered(model: InternVL, names: Sequence[str] = ("five", "one")) -> list[int]:
    images = [PICTURES[name] for name in names]
    answer = model.generate("What is it?", images=images, wish=Wish(max_tokens=16))
    list(answer)
    return answer.generation.tokens


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(drafting="lookup"),
        Strategy(drafting="snapkv", snapkv=CUT),
        Strategy(snapkv=SnapKV(capacity=400, window=8)),
        Strategy(drafting="lookup", snapkv=SnapKV(capacity=400, window=8)),
    ],
    ids=["lookup", "a cut copy drafts", "room for all", "both"],
)
def test_drafts_change_no_answer_about_pictures(cutting: Path, strategy: Strategy) -> None:
    plain = answered(load_internvl(cutting))
    model = load_internvl(cutting, strategy=strategy)
    assert answered(model) == plain
    assert answered(model) == plain
    assert (model.model.tally is not None) == (strategy.drafting is not None)


@pytest.mark.parametrize("cut", [None, SnapKV(capacity=400, window=8)])
def test_an_int8_cache_of_pictures(
    cutting: Path, cut: SnapKV | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the bytes, the same places; a second question in the chat is read into it."""
    monkeypatch.setattr(rounding, "ENOUGH", 16)
    target = PipelineArtifact.open(cutting).stages["text"].manifest.target
    if target not in offering("open_spliced_rounding"):
        with pytest.raises(Unsupported, match="cannot round a cache of pictures to int8"):
            load_internvl(cutting, strategy=Strategy(kv="int8"))
        return
    model = load_internvl(cutting, strategy=Strategy(kv="int8", snapkv=cut))
    chat = model.chat()
    list(chat.say("What is it?", [PICTURES["five"]], wish=Wish(max_tokens=4)))
    assert model.decoder.rounded  # type: ignore[attr-defined]
    rows = max(model.model.cache_rows)
    floats = cache_bytes(model.model.artifact.manifest.decoder, model.model.cache_rows, number=4)
    assert model.model.cache_mb == pytest.approx(floats / 4e6)
    answer = chat.ask("And now?", [PICTURES["one"]], wish=Wish(max_tokens=4))
    list(answer)
    assert max(model.model.cache_rows) > rows
    assert len(answer.generation.tokens) == 4
    fresh = load_internvl(cutting, strategy=Strategy(kv="int8", drafting="lookup"))
    assert answered(fresh) == answered(load_internvl(cutting, strategy=Strategy(kv="int8")))


@pytest.mark.parametrize("target", offering("open_spliced_exits")[1:])
def test_first_layers_draft_answers_about_pictures(
    source: tuple[Path, internvls.Rows], tmp_path: Path, target: str
) -> None:
    """As without drafts, also in the next turn of a chat, after another picture."""
    pytest.importorskip(MODULES[target])
    options = Options(target=target, quant="fp32", exits=(1,))
    made = convert_pipeline(source[0], tmp_path / "it", options)
    plain = load_internvl(made.folder)
    early = load_internvl(made.folder, strategy=Strategy(layerskip=1))
    assert answered(early) == answered(plain)
    assert early.model.tally is not None
    wish = Wish(max_tokens=6)
    for chat in (one := plain.chat(), other := early.chat()):
        list(chat.say("What is it?", [PICTURES["five"]], wish=wish))
        list(chat.say("And now?", [PICTURES["one"]], wish=wish))
    assert one.messages == other.messages
    # Where rows stand is known of every position, drafted ones too: a later picture is cut by it.
    assert len(early.decoder._shown) == early.decoder.length
    with pytest.raises(Unsupported, match="keeps no exit after layer 2"):
        load_internvl(made.folder, strategy=Strategy(layerskip=2))


def test_a_cache_is_cut_to_what_the_question_looks_at(cutting: Path) -> None:
    """A cut cache has so many rows, and the next question is read over them; a picture that is another
    begins anew.
    """
    model = load_internvl(cutting, strategy=Strategy(snapkv=CUT))
    chat = model.chat()
    list(chat.say("What is it?", [PICTURES["thirteen"]], wish=Wish(max_tokens=2)))
    assert set(model.decoder.rows) <= {24, 25}  # type: ignore[attr-defined]
    before = model.decoder.length
    answer = chat.ask("And now?", [PICTURES["one"]], wish=Wish(max_tokens=2))
    list(answer)
    place = model.tokenizer.id_of("<IMG_CONTEXT>")
    assert answer.generation.prompt.count(place) == 4
    assert model.decoder.length > before
    other = model.chat().ask("What is it?", [PICTURES["five"]], wish=Wish(max_tokens=2))
    list(other)
    assert other.generation.prompt.count(place) == 20
    fresh = load_internvl(cutting, strategy=Strategy(snapkv=CUT))
    again = fresh.chat().ask("What is it?", [PICTURES["five"]], wish=Wish(max_tokens=2))
    list(again)
    assert other.generation.tokens == again.generation.tokens


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Strategy(snapkv=SnapKV(purpose="reuse")), "KVzip"),
    ],
)
def test_what_pictures_cannot_have_yet(cutting: Path, strategy: Strategy, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        load_internvl(cutting, strategy=strategy)


def test_who_cannot_cut_says_so(source: tuple[Path, internvls.Rows], tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    made = convert_pipeline(source[0], tmp_path / "it", Options(target="coreml", quant="fp32"))
    with pytest.raises(Unsupported, match="coreml cannot compact"):
        load_internvl(made.folder, strategy=Strategy(snapkv=CUT, reference=True))


def test_another_language_model_in_its_own_words(tmp_path: Path) -> None:
    """As Mini-InternVL-Chat-4B: Phi-3, which is told nothing first."""
    pytest.importorskip("onnxruntime")
    rows = internvls.write(tmp_path / "it", text="phi3", template="phi3-chat")
    made = convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="onnx", quant="fp32"))
    model = load_internvl(made.folder, exact=True)
    answer = model.generate("What is it?", images=[PICTURES["one"]], wish=Wish(max_tokens=TOKENS))
    list(answer)
    shown = f"<img>{'<IMG_CONTEXT>' * 4}</img>\n"
    text = f"<|user|>\n{shown}What is it?<|end|><|assistant|>\n"
    ids = model.tokenizer.encode(text, special=True)
    assert list(answer.generation.prompt) == ids
    place = model.tokenizer.id_of("<IMG_CONTEXT>")
    assert place is not None
    seen = rows(tiled(PICTURES["one"], GRIDS["one"])).reshape(-1, 64)
    want = greedy(tmp_path / "it", seen, ids, place)
    assert answer.generation.tokens == want[: len(answer.generation.tokens)]


def test_a_picture_may_stand_anywhere() -> None:
    assert placed("<image>\nWhat?", [4]) == placed("What?", [4])
    want = f"This <img>{'<IMG_CONTEXT>' * 4}</img> and <img>{'<IMG_CONTEXT>' * 8}</img>?"
    assert placed("This <image> and <image>?", [4, 8]) == want
    with pytest.raises(EdgeError, match="2 times <image>, and there are 1"):
        placed("<image> <image>", [4])
    with pytest.raises(EdgeError, match="stands for pictures"):
        placed("<IMG_CONTEXT>", [])


def test_other_pictures_give_other_answers(model: InternVL) -> None:
    """Not the placeholders are read, but what stands there; the same again is the same."""
    logits = []
    for seed in (5, 6, 5):
        answer = model.generate("?", images=[picture(24, 24, seed)], wish=Wish(max_tokens=1))
        list(answer)
        model.decoder.rewind(model.decoder.length - 1)
        logits.append(model.decoder.step(3).copy())
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)


def test_a_conversation_reads_what_is_new(model: InternVL) -> None:
    """A second question, and a second picture: the same answers as all of it read anew; no picture twice."""
    wish, place = Wish(max_tokens=TOKENS), model.tokenizer.id_of("<IMG_CONTEXT>")
    chat = model.chat()
    model.model.forget()
    list(chat.say("What is it?", [PICTURES["five"]], wish=wish))
    turns: list[tuple[str, list[Picture], int]] = [
        ("And now?", [], 0),
        ("And this?", [PICTURES["one"]], 4),
    ]
    for text, images, rows in turns:
        before = Conversation(model, list(chat.messages), list(chat.rows))
        answer = chat.ask(text, images, wish=wish)
        kept = "".join(answer)
        assert answer.generation.prompt.count(place) == rows
        model.model.forget()
        anew = before.ask(text, images, wish=wish)
        assert "".join(anew) == kept
        assert anew.generation.tokens == answer.generation.tokens
        assert anew.generation.prompt.count(place) == 20 + rows
        list(chat.say(text, images, wish=wish))
    assert [len(rows) for rows in chat.rows] == [20, 4]


def test_another_picture_in_its_place_is_read(model: InternVL) -> None:
    """Not the placeholder's ids say what the cache holds, for they are the same."""
    wish = Wish(max_tokens=1)
    list(model.chat().ask("?", [picture(24, 24, 5)], wish=wish))
    again = model.chat().ask("?", [picture(24, 24, 5)], wish=wish)
    list(again)
    assert again.generation.prompt.count(model.tokenizer.id_of("<IMG_CONTEXT>")) == 0
    other = model.chat().ask("?", [picture(24, 24, 6)], wish=wish)
    list(other)
    assert other.generation.prompt.count(model.tokenizer.id_of("<IMG_CONTEXT>")) == 20


def test_a_picture_shown_before_skips_the_tower(model: InternVL) -> None:
    tiles: list[int] = []
    fresh = picture(24, 24, 77)
    first = model.look(fresh, progress=tiles.append)
    assert len(tiles) == 5
    again = model.look(Picture(rgb=fresh.rgb.copy()), progress=tiles.append)
    assert len(tiles) == 5
    assert again.rows is first.rows
    assert len(model.look(fresh, most=1, progress=tiles.append).rows) == 4  # another cut is another
    assert len(tiles) == 6


def test_each_network_is_proved_against_its_part_of_the_source(
    source: tuple[Path, internvls.Rows], tmp_path: Path
) -> None:
    from edge import api

    parts = {"vision": ("onnx", "int8"), "text": ("onnx", "rtn-int4-g32")}
    made = convert_pipeline(source[0], tmp_path / "it", Options(target="onnx"), parts)
    recipes = {name: stage.manifest.recipe for name, stage in made.stages.items()}
    assert recipes == {
        "vision": "rtn-int8-row",
        "projector": "rtn-int8-row",
        "text": "rtn-int4-g32",
    }
    for name, stage in made.stages.items():
        assert stage.manifest.stage == name
        report = api.verify_artifact(stage.folder, str(source[0]), tokens=None)
        assert report.passed, (name, report)


def changed(folder: Path, change: dict[str, Any]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"downsample_ratio": 0.25}, "downsample_ratio"),
        ({"select_layer": -4}, "select_layer"),
        ({"template": "vicuna"}, "conversation 'vicuna'"),
        ({"vision_config": None}, "no vision_config"),
        ({"use_thumbnail": False}, "use_thumbnail"),
        ({"ps_version": "v3"}, "ps_version"),
    ],
)
def test_what_is_not_computed_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    internvls.write(tmp_path / "it")
    changed(tmp_path / "it", change)

    def used() -> None:
        options = Options(target="torch", quant="fp32")
        load_internvl(convert_pipeline(tmp_path / "it", tmp_path / "out", options).folder)

    with pytest.raises((Damaged, Unsupported), match=words):
        used()


def test_a_tensor_of_no_network_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    internvls.write(tmp_path / "it")
    file = tmp_path / "it" / "model.safetensors"
    save_file({**load_file(file), "extra.weight": np.zeros(3, np.float32)}, file)
    with pytest.raises(Damaged, match=r"'extra\.weight' is of none"):
        convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="torch", quant="fp32"))
    assert not (tmp_path / "out").exists()


def test_a_stage_that_was_exchanged_is_refused(
    source: tuple[Path, internvls.Rows], tmp_path: Path
) -> None:
    made = convert_pipeline(source[0], tmp_path / "it", Options(target="torch", quant="fp32"))
    file = made.folder / "vision" / "edge.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "name": "another"}))
    with pytest.raises(Damaged, match="was changed since"):
        PipelineArtifact.open(made.folder)


def test_the_system_message_is_read_and_nothing_run(
    source: tuple[Path, internvls.Rows], tmp_path: Path
) -> None:
    made = convert_pipeline(source[0], tmp_path / "it", Options(target="torch", quant="fp32"))
    assert made.manifest.settings["system"] == internvls.MESSAGE


def test_a_published_config_and_its_names(assets: Path) -> None:
    """InternVL2-2B's own, whose counts the paper and the model's card give: 304 M, 12.6 M, 1.89 B."""
    config = Config.load(assets / "hf-config" / "internvl2-2b-ft" / "config.json")
    pipeline = pipeline_of(config)
    assert pipeline is not None
    assert pipeline.settings(config)["most"] == 12
    named, counts = set(), []
    for stage in pipeline.stages:
        part = stage.config(pipeline.fields.checked(config))
        family = family_of(part)
        spec = family.spec(part)
        counts.append(parameters(spec))
        places = family.names.places(spec).values()
        tensors = [name for place in places for name in place.tensors]
        named |= {stage.prefix + name.removeprefix(stage.prefix) for name in tensors}
    assert counts == [304_011_264, 12_595_200, 1_889_146_880]
    assert named == published_names(24, 24)


def published_names(tower: int, text: int) -> set[str]:
    """As an index of InternVL2-8B lists them (../shared/assets/hf-config/internvl-tensor-names.md)."""
    both = ("weight", "bias")
    at, of = "vision_model.embeddings.", "language_model.model."
    names = {f"{at}class_embedding", f"{at}position_embedding"}
    names |= {f"{at}patch_embedding.{part}" for part in both}
    names |= {f"mlp1.{number}.{part}" for number in (0, 1, 3) for part in both}
    for i in range(tower):
        layer = f"vision_model.encoder.layers.{i}."
        names |= {f"{layer}{name}" for name in ("ls1", "ls2")}
        modules = ("attn.qkv", "attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2")
        names |= {f"{layer}{name}.{part}" for name in modules for part in both}
    for i in range(text):
        modules = ("attention.wqkv", "attention.wo", "attention_norm", "ffn_norm")
        modules += ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
        names |= {f"{of}layers.{i}.{name}.weight" for name in modules}
    ends = (f"{of}tok_embeddings", f"{of}norm", "language_model.output")
    return names | {f"{name}.weight" for name in ends}


def test_the_published_tokenizer_has_the_places(assets: Path, tmp_path: Path) -> None:
    """Of a checkpoint with no tokenizer.json: SentencePiece, and tokens beside it."""
    pytest.importorskip("sentencepiece")
    published = assets / "hf-config" / "internvl2-2b-ft"
    for file in published.glob("*token*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.model").write_bytes(
        (assets / "tokenizers" / "internlm2" / "tokenizer.model").read_bytes()
    )
    tokenizer = Tokenizer.load(tmp_path)
    added = json.loads((published / "added_tokens.json").read_text())
    assert {name: tokenizer.id_of(name) for name in added} == added
    ids = tokenizer.encode(prompt("你好?", ["one"]), special=True)
    assert ids[:2] == [1, 92543]  # <s> <|im_start|>
    assert ids[ids.index(92544) :][:6] == [92544, *[92546] * 4, 92545]
    assert 92542 in tokenizer.stop_ids  # <|im_end|>
