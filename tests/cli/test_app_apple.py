"""The app for iOS and macOS, on Linux: its core by the golden files, its Core ML over the evaluator in numpy."""

import contextlib
import json
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import ROOT, converted, shortened, tiny
from webapp import GOLDEN

pytest.importorskip("coremltools")

import apple

from edge.api import convert_model
from edge.apps.folder import write_app
from edge.convert.options import Options
from edge.decode.generate import generate
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Speculation
from edge.pipelines.internvl import load_internvl
from edge.run.model import Wish, load
from edge.run.strategy import Strategy
from edge.text.chat import Message
from edge.vision.pictures import Picture
from edge_converters.coreml import convert as coreml

pytestmark = pytest.mark.timeout(1200)  # Swift is fetched, and all of it compiled
STORIES = ROOT / "edge" / "models" / "edge-stories"
READS = ROOT / "edge" / "models" / "edge-reads"
KIT = Path("Sources") / "EdgeKit"

# A file of the core, what it says, what is wrong, and the check that sees it.
BROKEN = (
    ("Exact.swift", "a.text.utf8.elementsEqual(b.text.utf8)", "a.text == b.text", "two spellings"),
    (
        "Exact.swift",
        "if text.utf8.with",
        "text.hash(into: &hasher)\n        if false, text.utf8.with",
        "two spellings",
    ),
    ("StopStrings.swift", "count - unsure(text)", "count", "stops 0"),
    ("Bpe.swift", "rank < other.rank", "rank > other.rank", "packaged Once upon a time"),
    ("Sampling.swift", "left -= one.weight", "left -= 2 * one.weight", "draws 1"),
    ("SnapKv.swift", "(kernel - 1) / 2", "kernel / 3", "rows 0"),
    ("Drafting.swift", "return read[place]", "return read[0]", "drafts change no answer"),
    ("Resize.swift", "let reach = 2 * shrink", "let reach = 2.0", "tiles 1"),
    ("Resize.swift", "lost > 2 *", "lost > 200 *", "tiles 7"),
    ("Tiles.swift", "if grid.tiles > 1 {", "if grid.tiles > 9 {", "tiles 0"),
    ("Sight.swift", "scale - mean[$0 % 3]", "scale - mean[0]", "a tile's numbers"),
    ("ChatModel.swift", "if isBusy { return }\n        close()", "close()", "an answer is written"),
)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folder."""
    return apple.built(tmp_path_factory.mktemp("apple"))


@pytest.fixture(scope="session")
def checks(programs: Path) -> Path:
    return programs / "EdgeChecks"


def passes(program: Path, words: list[str], places: dict[str, Path]) -> None:
    done = apple.ran(program, words, places)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_core_does_what_edge_does(checks: Path) -> None:
    passes(
        checks,
        ["golden", "/golden", "/model/tokenizer.json"],
        {"/golden": GOLDEN, "/model": STORIES},
    )


def test_real_vocabularies_give_the_ids_of_their_own_library(checks: Path, assets: Path) -> None:
    passes(checks, ["vocabularies", "/golden", "/assets"], {"/golden": GOLDEN, "/assets": assets})


def test_a_folder_is_taken_as_it_is_or_refused_in_words(checks: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    write_app(made, tmp_path / "app", force=False, test=False)
    (tmp_path / "place").mkdir()
    places = {"/app": tmp_path / "app", "/place": tmp_path / "place"}
    passes(checks, ["folders", "/app", "/place"], places)


ASKED = (
    "Tell me a story about Marla.",
    "Marla had a red kite. Tomtin had a blue drum. What did Tomtin have?",
)


@pytest.mark.parametrize("quant", ["fp16", "rtn-int4-g32"])
def test_core_ml_gives_the_tokens_of_the_reference(
    checks: Path, tmp_path: Path, quant: str
) -> None:
    made = converted(tmp_path / "it", STORIES, quant, target="coreml")
    called = answers(checks, made, tmp_path, [told(made, text) for text in ASKED])
    assert {"prompt64", "step"} == set(called)


def test_a_model_of_several_packages(
    checks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml, "LIMIT", 4_000_000)
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    assert len(list(made.glob("model-*.mlpackage"))) > 1
    answers(checks, made, tmp_path, [told(made, ASKED[1])])


def test_a_cache_is_cut_and_grows_again(checks: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", snapkv_rows=(112,))
    cut = SnapKV(capacity=96, window=20, sinks=2)
    cases = [told(made, f"{ASKED[1]} " * 12 + ASKED[0], cut), told(made, ASKED[0], cut)]
    called = answers(checks, made, tmp_path, cases)
    assert {"prompt64", "observe64", "step"} <= set(called)
    assert called.count("cut112_step") == 2 * (
        112 - 96
    )  # then the whole cache goes on, in both runs


def test_the_first_layers_draft(checks: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", exits=(2,))
    plain, *drafted = [told(made, ASKED[1]), *(told(made, text, exit_=2) for text in ASKED)]
    assert drafted[1]["tokens"] == plain["tokens"]  # drafts change no answer
    called = answers(checks, made, tmp_path, [plain, *drafted])
    rounds = sum(name.startswith("late2_") for name in called)
    read = 2 * sum(len(case["tokens"]) for case in drafted)
    assert {"draft2", "early2", "late2_8"} <= set(called)
    assert rounds < 0.8 * read, f"{rounds} rounds for {read} tokens"


def test_the_first_layers_draft_over_several_packages(
    checks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml, "LIMIT", 4_000_000)
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", exits=(4,))
    assert len(list(made.glob("model-*.mlpackage"))) > 1
    answers(checks, made, tmp_path, [told(made, ASKED[1], exit_=4)])


def test_answers_are_those_that_every_core_must_give(checks: Path, tmp_path: Path) -> None:
    """They were made by ONNX Runtime in float32: the margins of this model are wider than fp16's roundings."""
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", snapkv_rows=(144,))
    write_app(made, tmp_path / "app", force=False, test=False)
    (tmp_path / "place").mkdir()
    places = {"/golden": GOLDEN, "/app": tmp_path / "app", "/place": tmp_path / "place"}
    words = ["answers", "/golden", "/app", "/place/compiled"]
    done, called = apple.asked(checks, words, places)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert {"step", "observe64", "cut144_step"} <= set(called)


def told(
    made: Path, text: str, snapkv: SnapKV | None = None, exit_: int | None = None
) -> dict[str, Any]:
    """What the evaluator answers by `edge run --reference`'s own decoder."""
    model = load(made, strategy=Strategy(snapkv=snapkv, layerskip=exit_, reference=True))
    ids = model.encode([Message("user", text)])
    tokens = list(generate(model.source, ids, max_tokens=24, stop_ids=model.stop_ids))
    keys = ("capacity", "window", "sinks")
    cut = snapkv and {"kernel": snapkv.near, **{key: getattr(snapkv, key) for key in keys}}
    drafts = asdict(model.source.tally) if isinstance(model.source, Speculation) else None
    said = {"text": text, "said": model.tokenizer.decode(tokens)}
    return {"ids": ids, "tokens": tokens, "most": 24, "snapkv": cut, "drafts": drafts, **said}


def answers(checks: Path, made: Path, folder: Path, cases: list[dict[str, Any]]) -> list[str]:
    """See that the app's Core ML and its command line say the same -> the functions that the first called."""
    write_app(made, folder / "app", force=False, test=False)
    (folder / "told").mkdir()
    (folder / "told" / "told.json").write_text(json.dumps(cases))
    places = {"/app": folder / "app", "/told": folder / "told"}
    done, called = apple.asked(
        checks, ["model", "/told/told.json", "/app", "/told/compiled"], places
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for case in cases:
        if case["snapkv"] is None:
            demo_says(
                checks.parent, folder / "app", case, ["--layerskip"] if case["drafts"] else []
            )
    return called


def demo_says(programs: Path, app: Path, case: dict[str, Any], options: list[str]) -> list[str]:
    """See that the command line says it -> the functions that it called."""
    words = ["/app", case["text"], str(case["most"]), *options]
    done, called = apple.asked(programs / "edge-demo", words, {"/app": app})
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == case["said"]
    return called


def test_the_demo_cuts_a_cache(programs: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", snapkv_rows=(1280,))
    write_app(made, tmp_path / "app", force=False, test=False)
    case = told(made, f"{ASKED[1]} " * 85 + ASKED[0], SnapKV())
    assert len(case["ids"]) > 1056
    called = demo_says(programs, tmp_path / "app", case, ["--snapkv"])
    assert called.count("cut1280_step") >= len(case["tokens"]) - 1 > 0


@pytest.fixture(scope="session")
def reads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The packaged model that sees pictures, for Core ML, and as an app takes it."""
    folder = tmp_path_factory.mktemp("reads")
    convert_model(str(READS), "coreml", folder / "it", Options(quant="fp16"))
    write_app(folder / "it", folder / "app", force=False, test=False)
    return folder / "it", folder / "app"


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one tile, of two and a small one, and of another text in as many."""
    folder = tmp_path_factory.mktemp("shown")
    with Image.open(ROOT / "docs" / "reads" / "05-en.png") as picture:
        receipt = picture.convert("RGB")
    receipt.save(folder / "one.ppm")
    receipt.resize((300, 130)).save(folder / "three.ppm")
    with Image.open(ROOT / "docs" / "reads" / "02-en.png") as picture:
        picture.convert("RGB").save(folder / "other.ppm")
    return folder


def seen(folder: Path, name: str) -> Picture:
    with Image.open(folder / name) as picture:
        return Picture(rgb=np.asarray(picture))


@pytest.mark.parametrize(
    ("names", "tiles"), [(["one"], 1), (["three"], 3), (["other", "three"], 6), ([], 0)]
)
def test_the_demo_sees_what_the_reference_sees(
    programs: Path, reads: tuple[Path, Path], shown: Path, names: list[str], tiles: int
) -> None:
    question = "What is the total?"
    model = load_internvl(reads[0], strategy=Strategy(reference=True))
    files = [f"{name}.ppm" for name in names]
    answer = model.generate(question, images=[seen(shown, file) for file in files])
    said = "".join(answer)
    words = ["/app", question, "24", *(w for file in files for w in ("--image", f"/shown/{file}"))]
    places = {"/app": reads[1], "/shown": shown}
    done, called = apple.asked(programs / "edge-demo", words, places)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout, called.count("main")) == (said, 2 * tiles)
    assert called.count("rows16") == tiles


def test_a_conversation_about_pictures_goes_on(
    checks: Path, reads: tuple[Path, Path], shown: Path, tmp_path: Path
) -> None:
    words = ["sees", "/app", "/place", "/shown/three.ppm", "/shown/other.ppm"]
    places = {"/app": reads[1], "/shown": shown, "/place": tmp_path}
    done, called = apple.asked(checks, words, places)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    model = load_internvl(reads[0], strategy=Strategy(reference=True))
    wish = Wish(max_tokens=8)
    talk = model.chat()
    first = "".join(talk.say("Read the text.", [seen(shown, "three.ppm")], wish=wish))
    second = "".join(talk.say("And again?", wish=wish))
    other = "".join(model.generate("Read the text.", images=[seen(shown, "other.ppm")], wish=wish))
    assert first != other
    wanted = f"first: {first}\nsecond: {second}\nother: {other}\nfirst again: {first}\n"
    assert done.stdout.startswith(wanted)
    assert called.count("main") == 2 * (3 + 3 + 3)  # nothing is seen twice in a conversation


def test_a_model_without_eyes_is_shown_nothing(
    programs: Path, reads: tuple[Path, Path], shown: Path, tmp_path: Path
) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    write_app(made, tmp_path / "app", force=False, test=False)

    def said(app: Path, *options: str) -> str:
        places = {"/app": app, "/shown": shown}
        done, _ = apple.asked(programs / "edge-demo", ["/app", "Hi", "2", *options], places)
        assert done.returncode == 1
        return done.stderr

    assert said(tmp_path / "app", "--image", "/shown/one.ppm").startswith("This model is shown no")
    assert said(reads[1], "--snapkv").startswith("A model that sees pictures is read with the")


class Forgetting(apple.coreml_pipe.Models):
    """A device whose rows past a number are not what was written."""

    after = 2048

    def computed(self, model: Any, function: str, given: dict[str, Any]) -> dict[str, Any]:
        found = super().computed(model, function, given)
        for name in model.program.functions[function].states:
            model.held(name)[:, :, self.after :] *= 0.5
        return found


class Blind(apple.coreml_pipe.Models):
    """A device that reads no row of a large cache but those of the call itself."""

    def computed(self, model: Any, function: str, given: dict[str, Any]) -> dict[str, Any]:
        for name in model.program.functions[function].states:
            with contextlib.suppress(KeyError):  # no call was made yet
                model.held(name)[:] = 0
        return super().computed(model, function, given)


class Halting(Forgetting):
    """The same, in steps alone."""

    def computed(self, model: Any, function: str, given: dict[str, Any]) -> dict[str, Any]:
        self.after = 2048 if function == "step" else 9999
        return super().computed(model, function, given)


class Straying(apple.coreml_pipe.Models):
    """A device that writes the first row, too, wherever a sequence is."""

    def computed(self, model: Any, function: str, given: dict[str, Any]) -> dict[str, Any]:
        found = super().computed(model, function, given)
        for name in model.program.functions[function].states:
            if given["rows"][0] > 2000:
                model.held(name)[:, :, 0] = 1
        return found


class Mumbling(apple.coreml_pipe.Models):
    """A device that says another token after a step."""

    def computed(self, model: Any, function: str, given: dict[str, Any]) -> dict[str, Any]:
        found = super().computed(model, function, given)
        if function == "step":
            found["logits"] = np.roll(found["logits"], 1, axis=-1)
        return found


def test_a_device_that_computes_something_else_is_told(programs: Path, tmp_path: Path) -> None:
    source = shortened(tmp_path / "short", 2)
    config = json.loads((source / "config.json").read_text()) | {"max_position_embeddings": 4096}
    config["original_max_position_embeddings"] = 4096
    (source / "config.json").write_text(json.dumps(config))
    made = converted(tmp_path / "it", source, "fp16", target="coreml")
    write_app(made, tmp_path / "app", force=False)
    cases = json.loads((tmp_path / "app" / "selftest.json").read_text())["cases"]
    assert [case["start"] for case in cases] == [0, 1016, 2040, 4096 - 74]
    assert [len(case["tokens"]) for case in cases] == [8, 2, 2, 2]
    assert any(cases[0]["sure"])

    def said(kind: type[apple.coreml_pipe.Models]) -> str:
        words, places = ["/app", ASKED[0], "2", "--self-test"], {"/app": tmp_path / "app"}
        done, _ = apple.asked(programs / "edge-demo", words, places, kind)
        return "" if done.returncode == 0 else done.stderr

    wrong = "On this device the model does not compute what it should"
    assert said(apple.coreml_pipe.Models) == ""
    for kind in (Mumbling, Blind):
        assert said(kind) == f"{wrong}: its answers may be wrong.\n", kind
    right = 1016 + len(cases[1]["ids"]) + len(cases[1]["tokens"])
    for kind in (Forgetting, Halting, Straying):
        assert said(kind).startswith(f"{wrong} beyond {right} tokens: "), kind


@pytest.mark.parametrize("quant", ["fp16", "rtn-int4-g64"])
def test_mlx_says_what_edge_says_over_it(programs: Path, tmp_path: Path, quant: str) -> None:
    made = converted(tmp_path / "it", STORIES, quant, target="mlx")
    for number, text in enumerate(ASKED):
        called = mlx_agrees(programs, made, tmp_path / f"app-{number}", text)
        assert ("quantized_matmul" in called) == (quant != "fp16")


def test_mlx_reads_matrices_that_are_not_fused(programs: Path, tmp_path: Path) -> None:
    source = tiny(tmp_path / "tiny", "qwen2", vocab_size=1408, max_position_embeddings=64)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STORIES / name, source / name)
    made = converted(tmp_path / "it", source, "fp32", target="mlx")
    assert "split" not in mlx_agrees(programs, made, tmp_path / "app", ASKED[0])
    folder = {"/app": tmp_path / "app"}
    done, _ = apple.asked(
        programs / "EdgeChecks", ["turns", "/app"], folder, apple.mlx_pipe().Arrays
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    app = json.loads((tmp_path / "app" / "app.json").read_text())
    config = json.loads((tmp_path / "app" / "text" / "config.json").read_text())
    text = json.dumps(config | {"model_type": "gemma"})
    (tmp_path / "app" / "text" / "config.json").write_text(text)
    for file in app["modules"]["text"]["files"]:
        if file["name"] == "text/config.json":
            file |= {"sha256": sha256(text.encode()).hexdigest(), "bytes": len(text)}
    (tmp_path / "app" / "app.json").write_text(json.dumps(app))
    words, places = ["/app", ASKED[0]], {"/app": tmp_path / "app"}
    done, _ = apple.asked(programs / "edge-demo", words, places, apple.mlx_pipe().Arrays)
    assert done.stderr.startswith("Models of the family gemma, or with such positions, do not run")


def mlx_agrees(programs: Path, made: Path, app: Path, text: str) -> list[str]:
    """See that the command line says over Python's MLX what edge does -> what it called of that."""
    mlx_pipe = apple.mlx_pipe()
    write_app(made, app, force=False)
    words = ["/app", text, "24"]
    done, called = apple.asked(programs / "edge-demo", words, {"/app": app}, mlx_pipe.Arrays)
    assert done.returncode == 0, done.stderr[-2000:]
    model = load(made)
    ids = model.encode([Message("user", text)])
    tokens = list(generate(model.source, ids, max_tokens=24, stop_ids=model.stop_ids))
    assert done.stdout == model.tokenizer.decode(tokens)
    return called


def test_the_screens_have_words_and_every_control_a_name(programs: Path) -> None:
    """Over a stand-in of SwiftUI that says what stands on them."""
    done = apple.ran(programs / "EdgeApp", [], {})
    found = [line.partition(": ") for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr[-2000:]
    names = {(kind, name) for kind, _, name in found}
    screens = {("title", "Edge"), ("title", "Models"), ("title", "Settings")}
    assert screens | {("field", "Message"), ("button", "Send"), ("button", "Add a model")} <= names
    assert all(name.strip() for _, _, name in found), done.stdout


@pytest.mark.parametrize(("language", "send"), [("de", "Senden"), ("zh-Hans", "发送")])
def test_the_screens_in_another_language(programs: Path, language: str, send: str) -> None:
    words = ["/app/Localizable.xcstrings", language]
    done = apple.ran(programs / "EdgeApp", words, {"/app": apple.APPLE / "App"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"button: {send}" in done.stdout
    assert "is not in the catalogue" not in done.stdout


def test_the_demo_says_what_the_reference_says(
    programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    write_app(made, tmp_path / "app", force=False, test=False)
    model = load(made, strategy=Strategy(reference=True))
    ids = model.encode([Message("user", ASKED[0])])
    tokens = list(generate(model.source, ids, max_tokens=12))
    there = set((apple.swift_linux.root() / "tmp").iterdir())
    assert apple.demo_linux.answered(programs.parent, tmp_path / "app", [ASKED[0], "12"]) == 0
    assert capfd.readouterr().out == model.tokenizer.decode(tokens)
    assert set((apple.swift_linux.root() / "tmp").glob("edge-demo-*")) <= there
    demo = programs / "edge-demo"
    words = ["/app", ASKED[0], "12", "--layerskip"]
    done, _ = apple.asked(demo, words, {"/app": tmp_path / "app"})
    assert (done.returncode, done.stderr[:25]) == (1, "This model keeps no exit,")
    app = json.loads((tmp_path / "app" / "app.json").read_text())
    app["decoder"]["vocab"] += 1
    (tmp_path / "app" / "app.json").write_text(json.dumps(app))
    done, _ = apple.asked(demo, ["/app", ASKED[0], "12"], {"/app": tmp_path / "app"})
    assert done.returncode == 1
    assert done.stderr.startswith("The model's packages are of another model than app.json.")
    (tmp_path / "app" / "tokenizer.json").write_text("{}")
    done, _ = apple.asked(demo, ["/app", ASKED[0], "12"], {"/app": tmp_path / "app"})
    assert done.returncode == 1
    assert done.stderr.startswith("tokenizer.json has 2 bytes and should have ")


def test_a_core_that_is_wrong_is_seen(checks: Path, tmp_path: Path) -> None:
    """Each of these changes one rule; the checks that should see it do."""
    source, scratch = tmp_path / "apple", tmp_path / "build"
    shutil.copytree(apple.APPLE, source, ignore=shutil.ignore_patterns(".build", "__pycache__"))
    shutil.copytree(checks.parent.parent, scratch, symlinks=True)
    for file, right, wrong, _ in BROKEN:
        text = (source / KIT / file).read_text()
        assert right in text, file
        (source / KIT / file).write_text(text.replace(right, wrong))
    program = apple.built(scratch, source) / "EdgeChecks"
    words = ["golden", "/golden", "/model/tokenizer.json"]
    done = apple.ran(program, words, {"/golden": GOLDEN, "/model": STORIES})
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    for file, _, _, seen in BROKEN:
        assert f"FAILED {seen}" in done.stdout, f"{file}: {done.stdout[-4000:]}"
