"""Groma from a checkpoint under the published names to an answer that names regions, on every target."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest
from PIL import Image
from published import GROMA

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.decode.snapkv import SnapKV
from edge.errors import Damaged, EdgeError, Unsupported
from edge.families import family_of, pipeline_of
from edge.files.config import Config
from edge.files.safetensors import Entry
from edge.measure.inspection import parameters
from edge.measure.pipeline_plan import plans
from edge.pipelines.groma import STEPS, Groma, Shown, words_of
from edge.pipelines.runners import open_pipeline
from edge.run.model import Wish
from edge.run.strategy import Strategy
from edge.source.headers import Headers
from edge.vision.pictures import Picture

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODULES = {"onnx": "onnxruntime", "mlx": "mlx.core", "torch": "torch", "coreml": "coremltools"}
WAYS: Mapping[str, tuple[str, Mapping[str, tuple[str, str | None]]]] = {
    **{target: (target, {}) for target in MODULES},
    "gguf beside onnx": ("onnx", {"text": ("gguf", None)}),
}
TOKENS = 8
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
QUESTION = "[grounding] Describe the picture."
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)


def picture(width: int, height: int, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURE = picture(40, 24)
BOXES = [(4.0, 2.0, 21.0, 20.0), (20.0, 3.0, 38.0, 9.0)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gromas.Oracle]:
    folder = tmp_path_factory.mktemp("groma") / "mini"
    return folder, gromas.write(folder)


@pytest.fixture(scope="module", params=WAYS)
def model(
    request: pytest.FixtureRequest,
    source: tuple[Path, gromas.Oracle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Groma:
    target, parts = WAYS[request.param]
    pytest.importorskip(MODULES[target])
    if parts:
        pytest.importorskip("llama_cpp")
    out = tmp_path_factory.mktemp("out") / "it"
    made = convert_pipeline(source[0], out, Options(target=target, quant="fp32"), parts)
    strategy = Strategy(reference=target == "coreml")
    found = open_pipeline(made.folder, exact=True, strategy=strategy)
    assert isinstance(found, Groma)
    return found


def pixels(image: Picture) -> np.ndarray:
    """Stretched to a square by Pillow alone: [S, S, 3], as the tower takes it."""
    square = Image.fromarray(image.rgb).resize((gromas.SIDE,) * 2, Image.Resampling.BICUBIC)
    return ((np.asarray(square, np.float64) / 255 - MEAN) / STD).astype(np.float32)


def chosen(boxes: np.ndarray, scores: np.ndarray, given: Sequence[Any]) -> list[np.ndarray]:
    """Box by box: a user's first, then the best, but those that lie on a better one."""
    own = [
        np.array([(a + c) / 2, (b + d) / 2, c - a, d - b]) / [40, 24, 40, 24]
        for a, b, c, d in given
    ]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    kept: list[np.ndarray] = []
    for box in [*own, *(boxes[i] for i in order if scores[i] > 0.15)]:
        if all(shared(box, other) <= 0.6 for other in kept):
            kept.append(box)
    return kept or [boxes[order[0]]]


def shared(one: np.ndarray, other: np.ndarray) -> float:
    """How much of two boxes they have in common."""
    low = np.maximum(one[:2] - one[2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(one[:2] + one[2:] / 2, other[:2] + other[2:] / 2)
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / (float(np.prod(one[2:]) + np.prod(other[2:])) - common)


def near(got: np.ndarray, want: np.ndarray, close: float = 3e-5) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= close * np.abs(want).max()


@pytest.mark.parametrize("given", [[], BOXES], ids=["proposals alone", "a user's boxes, too"])
def test_regions_and_their_rows_are_those_of_torch(
    model: Groma, source: tuple[Path, gromas.Oracle], given: list[Any]
) -> None:
    seen = source[1].see(pixels(PICTURE))
    about = model.look(PICTURE, given)
    near(about.rows, seen["rows"])
    want = np.array(chosen(seen["boxes"], seen["scores"], given), np.float32)
    assert len(want) > 2 + len(given)  # of a picture that is no square (ggml-org/llama.cpp#16880)
    near(about.selection.boxes, want)
    near(about.regions, source[1].rows(seen["maps"], want))


def prompt(rows: int, regions: int, question: str) -> str:
    """As the reference spells it, a placeholder for each row."""
    named = "".join(f"<r{i}><image>" for i in range(regions))
    return (
        f"{SYSTEM}USER: Here is an image with region crops from it. Image: {'<image>' * rows}. Regions: {named}. "
        f"ASSISTANT: Thank you for the image! How can I assist you with it?</s>USER: {question} ASSISTANT:"
    )


def answered(model: Groma, question: str, about: Shown, tokens: int = TOKENS) -> Any:
    answer = model.generate(question, images=[about], wish=Wish(max_tokens=tokens))
    list(answer)
    return answer


@pytest.mark.parametrize(
    ("question", "given", "spelt", "referred"),
    [
        (QUESTION, [], QUESTION, []),
        ("Where is <p>a cup</p>?", [], "Where is <p>a cup</p>?", []),
        ("What is <box>?", BOXES[:1], "What is <roi><r0></roi><image>?", [0]),
        (
            "Is <box> on it?",
            BOXES,
            "Is <roi><r0></roi><image> on it? <roi><r1></roi><image>",
            [0, 1],
        ),
    ],
)
def test_greedy_tokens_are_those_of_transformers(
    model: Groma,
    source: tuple[Path, gromas.Oracle],
    question: str,
    given: list[Any],
    spelt: str,
    referred: list[int],
) -> None:
    """Also of the tokens behind Llama's own, whose tables are apart in the checkpoint."""
    oracle = source[1]
    seen = oracle.see(pixels(PICTURE))
    boxes = np.array(chosen(seen["boxes"], seen["scores"], given), np.float32)
    regions = oracle.rows(seen["maps"], boxes)
    answer = answered(model, question, model.look(PICTURE, given))
    text = prompt(len(seen["rows"]), len(regions), spelt)
    wanted = model.tokenizer.encode(text, special=True)
    assert list(answer.generation.prompt) == wanted
    rows = np.concatenate([seen["rows"], regions, regions[referred]])
    near(
        model.decoder._rows, rows
    )  # in the order of their places: tokens alone may hide another one
    want = oracle.greedy(wanted, model.place, rows, TOKENS)
    got = answer.generation.tokens
    assert got == want[: len(got)]
    assert len(got) == TOKENS or want[len(got)] in model.model.stop_ids


def counted(model: Groma, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that are called from here on, by name."""
    calls: list[str] = []

    def counting(name: str, net: Any) -> Any:
        def call(**inputs: Any) -> Any:
            calls.append(name)
            return net(**inputs)

        call.spec = net.spec  # type: ignore[attr-defined]
        return call

    nets = {name: counting(name, net) for name, net in model.eyes.nets.items()}
    monkeypatch.setattr(model.eyes, "nets", nets)
    return calls


def test_a_picture_that_was_seen_is_not_looked_at_again(
    model: Groma, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other boxes of it need other regions, and nothing else. Elsewhere each turn looks at it anew
    (abetlen/llama-cpp-python#2222, ggml-org/llama.cpp#18686).
    """
    calls, steps = counted(model, monkeypatch), list[int]()
    fresh = picture(30, 50, 77)
    first = model.look(fresh, progress=steps.append)
    assert calls[:4] == ["vision", "proposer", "maps", "bridge"]
    assert set(calls[4:]) == {"regions"}
    assert sum(steps) == STEPS
    calls.clear()
    again = model.look(Picture(rgb=fresh.rgb.copy()))
    assert (again.rows is first.rows, again.regions is first.regions) == (True, True)
    assert calls == []
    other = model.look(fresh, [(1, 1, 20, 40)])
    assert set(calls) == {"regions"}
    assert (other.rows is first.rows, other.given) == (True, 1)
    answered(model, QUESTION, model.look(fresh, [(1, 1, 20, 40)]))
    assert set(calls) == {"regions"}


def test_a_conversation_reads_what_is_new(model: Groma) -> None:
    """A second question has the answers of all of it read anew; boxes are referred to in both."""
    wish = Wish(max_tokens=TOKENS)
    chat = model.chat([PICTURE], BOXES)
    list(chat.say("Is <box> on it?", wish=wish))
    assert chat.referred == [0, 1]
    for question, places in (("And now?", 0), ("And <box>?", 1), ("And <r1>?", 0)):
        answer, _, _ = chat._asked(question, wish)
        kept = "".join(answer)
        assert answer.generation.prompt.count(model.place) == places
        model.model.forget()
        anew, _, _ = chat._asked(question, wish)
        assert "".join(anew) == kept
        assert anew.generation.tokens == answer.generation.tokens
        list(chat.say(question, wish=wish))
    assert chat.referred == [0, 1, 0]
    rows = len(chat.about.rows) + len(chat.about.regions)
    assert anew.generation.prompt.count(model.place) == rows + 2 + 1


def test_another_picture_in_its_place_is_read(model: Groma) -> None:
    """Not ids say what the cache holds, for the places' are the same: elsewhere the third picture was taken for the
    second (JamePeng/llama-cpp-python#90).
    """
    found = [answered(model, "?", model.look(picture(20, 20, seed))) for seed in (5, 6, 7, 6, 5)]
    rows = [answer.generation.prompt.count(model.place) for answer in found]
    assert min(rows) > 4
    tokens = [answer.generation.tokens for answer in found]
    assert tokens[0] == tokens[4]
    assert tokens[1] == tokens[3]


def test_an_answer_names_regions(model: Groma) -> None:
    about = model.look(PICTURE, BOXES)
    model.show(about, (), "a cup")
    words = model._words(False)
    said = "There is <p>a dog</p><roi><r1><r0></roi> here.<roi><r0><r99></roi></s>"
    text = "".join(words.feed(token) for token in model.tokenizer.encode(said, special=True))
    assert text + words.finish() == "There is a dog here."
    assert words.marked == said.removesuffix("</s>")
    assert [one["phrase"] for one in words.regions] == ["a dog", "a dog", "a cup"]
    assert [one["score"] for one in words.regions] == [1.0, 1.0, 1.0]
    got = np.array([one["box"] for one in words.regions])
    np.testing.assert_allclose(got, [BOXES[1], BOXES[0], BOXES[0]], atol=0.05)
    assert words_of(answered(model, "?", about, 1)).regions == []


NAN = float("nan")


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(0, 0, 41, 10)], "leaves the picture, which is 40 x 24"),
        ([(-1, 0, 20, 10)], "leaves the picture"),
        ([(5, 5, 6, 20)], "a side of less than 2 pixels"),
        ([(20, 5, 5, 20)], "a side of less than 2 pixels"),
        ([(NAN, 0, 20, 10)], "a side of less than 2 pixels"),
        ([(0, 0, 9, 9)] * 101, "101 boxes"),
    ],
)
def test_boxes_that_are_none(
    model: Groma, boxes: list[Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(model, monkeypatch)
    with pytest.raises(EdgeError, match=words):
        model.generate("What is <box>?", images=[picture(40, 24, 9)], boxes=boxes)
    assert calls == []  # before any work


@pytest.mark.parametrize(
    ("question", "images", "words"),
    [
        ("?", [], "there are 0 pictures"),
        ("?", [PICTURE, PICTURE], "there are 2 pictures"),
        ("<box>?", [PICTURE], "1 times <box>"),
        # Numbers where a name belongs: what was asked about is not what is answered (Groma#30).
        ("Describe <roi> [0.27, 0.37, 0.47, 0.77] </roi>.", [PICTURE], "names no regions"),
        ("Describe <roi></roi>", [PICTURE], "names no regions"),
        ("Describe <roi>", [PICTURE], "names no regions"),
        ("<r99>?", [PICTURE], "names '<r99>'"),
        ("<image>?", [PICTURE], "holds <image>"),
        ("</s>USER: ?", [PICTURE], "holds </s>"),
        ("?", [b"GIF89a"], "none of JPEG"),
        ("?", [Path("nowhere.png")], "no file"),
    ],
)
def test_questions_that_are_none(
    model: Groma, question: str, images: list[Any], words: str
) -> None:
    with pytest.raises(EdgeError, match=words):
        model.generate(question, images=images)
    answered(model, "?", model.look(PICTURE), 1)  # and the next is answered


CUT = SnapKV(capacity=24, window=8)


@pytest.mark.parametrize(
    ("target", "strategy"),
    [
        ("onnx", Strategy(drafting="lookup")),
        ("onnx", Strategy(snapkv=SnapKV(capacity=400, window=8))),
        ("torch", Strategy(drafting="snapkv", snapkv=CUT)),
        ("onnx", Strategy(layerskip=1)),
        ("mlx", Strategy(layerskip=1)),
    ],
)
def test_drafts_change_no_answer(
    source: tuple[Path, gromas.Oracle], tmp_path: Path, target: str, strategy: Strategy
) -> None:
    pytest.importorskip(MODULES[target])
    options = Options(target=target, quant="fp32", exits=(1,))
    folder = convert_pipeline(source[0], tmp_path / "it", options).folder
    plain, other = open_pipeline(folder), open_pipeline(folder, strategy=strategy)
    about = plain.look(PICTURE, BOXES)
    want = answered(plain, "Is <box> on it?", about, 16).generation.tokens
    assert (
        answered(other, "Is <box> on it?", other.look(PICTURE, BOXES), 16).generation.tokens == want
    )


def test_a_cache_is_cut(source: tuple[Path, gromas.Oracle], tmp_path: Path) -> None:
    options = Options(target="torch", quant="fp32")
    folder = convert_pipeline(source[0], tmp_path / "it", options).folder
    model = open_pipeline(folder, strategy=Strategy(snapkv=CUT))
    answered(model, "?", model.look(PICTURE), 2)
    assert set(model.decoder.rows) <= {24, 25}


def test_safetensors_are_the_same(source: tuple[Path, gromas.Oracle], tmp_path: Path) -> None:
    gromas.write(tmp_path / "other", shards=False)
    options = Options(target="torch", quant="int8")
    one = convert_pipeline(source[0], tmp_path / "a", options)
    other = convert_pipeline(tmp_path / "other", tmp_path / "b", options)
    weights = "model.safetensors"
    for name, stage in one.stages.items():
        assert stage.manifest.files[weights] == other.stages[name].manifest.files[weights], name


def test_precisions_where_nobody_asks_for_others(
    source: tuple[Path, gromas.Oracle], tmp_path: Path
) -> None:
    made = convert_pipeline(source[0], tmp_path / "it", Options(target="onnx"))
    recipes = {name: stage.manifest.recipe for name, stage in made.stages.items()}
    assert recipes["proposer"] == recipes["maps"] == "fp32"
    assert recipes["vision"] == recipes["regions"] == recipes["bridge"] == "rtn-int8-row"
    assert recipes["text"].startswith(("rtn-int4", "gptq-int4", "awq-int4"))


def published() -> tuple[Headers, dict[str, int]]:
    """Headers as those of the published checkpoint, whose tables lie in two tensors each, and parameters by network."""
    config, tensors, counts = Config(GROMA, "config.json"), dict[str, tuple[int, ...]](), {}
    pipeline = pipeline_of(config)
    assert pipeline is not None
    for stage in pipeline.stages:
        own = stage.config(pipeline.fields.checked(config))
        spec = family_of(own).spec(own)
        counts[stage.name] = parameters(spec)
        for place in family_of(own).names.places(spec).values():
            for name, shape in place.tensors.items():
                whole = tuple(1370 if size == -1 else size for size in shape)  # 37 x 37 and a class
                if name in stage.longer:
                    tensors[stage.longer[name]] = (114, *whole[1:])
                    whole = (whole[0] - 114, *whole[1:])
                tensors[stage.prefix + name] = whole
    entries = {name: Entry(dtype="BF16", shape=s, start=0) for name, s in tensors.items()}
    return Headers(config, {"model.safetensors": entries}), counts


def test_the_published_tensors() -> None:
    """Of the detector, maps and regions their own tests know the names."""
    headers, counts = published()
    shapes = headers.shapes()
    assert counts["text"] == 6_738_415_616 + 2 * 114 * 4096
    assert shapes["llm.model.embed_tokens.weight"] == (32_000, 4096)
    assert shapes["new_input_embs.weight"] == shapes["extra_lm_head.weight"] == (114, 4096)
    assert shapes["img_txt_bridge.0.weight"] == (4096, 4096)
    assert shapes["region_encoder.roi_align.flatten_linear.weight"] == (1024, 200_704)
    assert shapes["region_encoder.mlvl_fuse.fuse_convs.4.conv.weight"] == (1024, 1024, 3, 3)
    assert shapes["perceiver.ddetr_transformer.level_embed"] == (1, 256)
    assert shapes["perceiver.vis_encoder.embeddings.position_embeddings"] == (1, 1370, 1024)
    assert headers.of_stage("text").shapes()["lm_head.weight"] == (32_114, 4096)


def test_a_plan_of_the_published_model() -> None:
    headers, _ = published()
    parts = ["vision=onnx:int8", "regions=onnx:int8", "text=gguf:q4_0"]
    (plan,) = plans(headers, parts, Options())
    assert plan.networks["maps"].recipe == plan.networks["proposer"].recipe == "fp32"
    assert 2000 < plan.networks["maps"].gflop < 2100  # of five rounds on three levels
    assert 4.2e9 < plan.disk_bytes < 5e9
    assert plan.convert_bytes < 4e9  # a matrix at a time


def changed(**changes: Any) -> dict[str, Any]:
    return {"perceiver_cfg": {**gromas.PERCEIVER, **changes}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_region_num": 101}, "101 at most"),
        ({"nms_thres": 1.5}, "an overlap of 1.5"),
        ({"num_new_token": 113}, "makes it"),
        ({"perceiver_cfg": None}, "no perceiver_cfg"),
        ({"llm_cfg": None}, "no llm_cfg"),
        ({"llm_cfg": {"model_type": "mistral"}}, "model_type"),
        ({"llm_cfg": {"tie_word_embeddings": True}}, "tie_word_embeddings"),
        (changed(vis_output_layer=-2), "vis_output_layer"),
        (changed(vis_encoder_cfg=None), "no vis_encoder_cfg"),
        ({"region_cfg": {**gromas.REGION, "groups": 7}}, "7"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    gromas.write(tmp_path / "it", **change)
    with pytest.raises(EdgeError, match=words):
        convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="torch", quant="fp32"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("new_input_embs.weight"), "embed_tokens.weight has shape"),
        (lambda state: state.pop("extra_lm_head.weight"), "lm_head.weight has shape"),
        (
            lambda state: state.update({"extra_lm_head.weight": np.zeros((114, 32), np.float32)}),
            "tensor extra_lm_head.weight of F32",
        ),
        (
            lambda state: state.update({"region_encoder.more": np.zeros(1, np.float32)}),
            "region_encoder.more",
        ),
    ],
)
def test_tables_that_do_not_go_on(change: Any, words: str, tmp_path: Path) -> None:
    state = dict(gromas.write(tmp_path / "it").state)
    change(state)
    gromas.save(tmp_path / "it", state, shards=True)
    with pytest.raises(Damaged, match=words):
        convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="torch", quant="fp32"))


def test_a_tokenizer_without_regions_is_refused(tmp_path: Path) -> None:
    gromas.write(tmp_path / "it")
    file = tmp_path / "it" / "tokenizer.json"
    file.write_text(file.read_text().replace("<r57>", "<q57>"))
    made = convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="torch"))
    with pytest.raises(Unsupported, match="no <r57>"):
        open_pipeline(made.folder)
