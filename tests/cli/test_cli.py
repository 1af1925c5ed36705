"""The contracts that scripts rely on: keys of --json, exit codes, what is refused and how."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Edge
from support import converted, environment, run, tiny

from edge.artifact.manifest import MANIFEST
from edge.files.hashing import sha256
from edge.measure import quality
from edge.source import registry

STORIES = "llm/stories-260k"
PROMPT = "Once upon a time"
COMMANDS = ("convert", "verify", "inspect", "run", "bench", "eval", "list", "doctor")


@pytest.fixture(scope="module")
def artifact(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("cli") / "stories", assets / STORIES, "int4")


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def answer(edge: Edge, artifact: Path, *args: str, stdin: str = "") -> dict[str, Any]:
    done = edge("run", artifact, *args, "--json", stdin=stdin)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    return done.json


# convert


def test_convert(edge: Edge, assets: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = edge("convert", assets / STORIES, "--to", "onnx", "--quant", "int4", "-o", out, "--json")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert done.json["path"] == str(out)
    assert done.json["bytes"] == sum((out / name).stat().st_size for name in done.json["files"])
    assert done.json["files"] == {name: sha256(out / name) for name in done.json["files"]}
    assert {p.name for p in out.iterdir()} == {*done.json["files"], MANIFEST}


def test_an_artifact_is_replaced_only_by_force(edge: Edge, assets: Path, copy: Path) -> None:
    before = (copy / MANIFEST).read_bytes()
    refused = edge("convert", assets / STORIES, "--quant", "fp32", "-o", copy)
    assert refused.code == 2
    assert "--force" in refused.err
    assert (copy / MANIFEST).read_bytes() == before
    assert edge("convert", assets / STORIES, "--quant", "fp32", "-o", copy, "--force").code == 0
    assert json.loads((copy / MANIFEST).read_text())["recipe"] == "fp32"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--quant", "int3"), 3, "int3"),
        (("--quant", "int8-min"), 3, "rtn-int8-g32-asym"),
        (("--embed", "int4-min"), 3, "--embed"),
        (("--to", "onnx,onnx"), 2, "twice"),
        (("--quant", "int7"), 2, "int7"),
        (("--override", "layers.9.*=int8"), 2, "layers.9"),
        (("--override", "head"), 2, "PATTERN=SCHEME"),
        (("--to", "toaster"), 2, "onnx"),
        (("--context", "513"), 3, "512"),
        (("--context", "0"), 2, "context"),
        (("--embed", "int4-g128"), 3, "--embed"),
        (("--tokenizer", "/nowhere"), 2, "tokenizer"),
    ],
    ids=str,
)
def test_convert_refuses(
    edge: Edge, assets: Path, tmp_path: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    done = edge("convert", assets / STORIES, "-o", tmp_path / "out", *args)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert not (tmp_path / "out").exists()


# verify


def test_verify_passes(edge: Edge, assets: Path, copy: Path) -> None:
    done = edge("verify", copy, "--against", assets / STORIES, "--tokens", "12", "--json")
    assert done.code == 0
    assert done.json["passed"] is True
    assert done.json["greedy_tokens"] == 12
    assert done.json["differing_bytes"] == 0
    assert done.json["logits_error"] <= done.json["logits_tolerance"]
    assert edge("inspect", copy, "--json").json["verified"] is True


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "hash corrected"])
def test_verify_fails_when_one_scale_is_changed(
    edge: Edge, assets: Path, tmp_path: Path, hidden: bool
) -> None:
    """Of what the source alone makes again, byte for byte."""
    onnx, copy = pytest.importorskip("onnx"), tmp_path / "it"
    assert edge("convert", assets / STORIES, "--quant", "rtn-int4-g32", "-o", copy).code == 0
    model = onnx.load(copy / "model.onnx", load_external_data=False)
    (scales,) = [
        t
        for t in model.graph.initializer
        if t.name.endswith("down.int4-g32.scales") and ".2." in t.name
    ]
    place = int(next(field.value for field in scales.external_data if field.key == "offset"))
    data = bytearray((copy / "model.onnx.data").read_bytes())
    one = np.frombuffer(data, np.float32, 1, place)
    data[place : place + 4] = (one * np.float32(1.0001)).tobytes()
    (copy / "model.onnx.data").write_bytes(data)
    if hidden:
        manifest = json.loads((copy / MANIFEST).read_text())
        manifest["files"]["model.onnx.data"] = sha256(copy / "model.onnx.data")
        (copy / MANIFEST).write_text(json.dumps(manifest))
    done = edge("verify", copy, "--against", assets / STORIES, "--tokens", "4", "--json")
    assert done.code == 1
    assert done.json["passed"] is False
    assert 1 <= done.json["differing_bytes"] <= 4
    assert done.json["changed_files"] == ([] if hidden else ["model.onnx.data"])


def test_verify_fails_when_a_scale_is_no_number(edge: Edge, assets: Path, copy: Path) -> None:
    """And its report is still JSON."""
    data = np.frombuffer((copy / "model.onnx.data").read_bytes(), np.float32).copy()
    data[:] = np.nan
    (copy / "model.onnx.data").write_bytes(data.tobytes())
    done = edge("verify", copy, "--against", assets / STORIES, "--tokens", "4", "--json")
    assert done.code == 1
    assert done.json["passed"] is False


def test_verify_against_another_model(edge: Edge, copy: Path, tmp_path: Path) -> None:
    done = edge("verify", copy, "--against", tiny(tmp_path / "other"))
    assert done.code == 2
    assert "another model" in done.err
    assert edge("verify", copy).code == 2, "its checkpoint is not in the registry"


def test_a_proof_stands_where_it_cannot_be_kept(
    edge: Edge, assets: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("edge.artifact.manifest.write_manifest", refuse)
    done = edge("verify", copy, "--against", assets / STORIES, "--tokens", "4", "--json")
    assert (done.code, done.json["passed"]) == (0, True)
    assert "not kept in edge.json: Read-only file system" in done.err


def test_a_dry_run_writes_nothing(edge: Edge, assets: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    done = edge("convert", assets / STORIES, "-o", out, "--dry-run", "--json")
    assert done.code == 0
    assert list(tmp_path.iterdir()) == []
    assert done.json["path"] == str(out)
    assert done.json["recipe"] == "gptq-int4-g64 layers.*.mlp.down=gptq-int4-g32"
    assert not done.json["resumes"]
    made = edge("convert", assets / STORIES, "-o", out, "--json")
    assert (out / "model.onnx.data").stat().st_size == done.json["bytes"]
    assert made.json["bytes"] > done.json["bytes"]


def test_overrides_reach_the_manifest(edge: Edge, assets: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "out", ("--override", "layers.0.*=int8", "--override", "head=fp16")
    assert edge("convert", assets / STORIES, "-o", out, *given).code == 2, "the head is tied: embed"
    given = (*given[:3], "embed=fp16")
    assert edge("convert", assets / STORIES, "-o", out, *given).code == 0
    found = json.loads((out / "edge.json").read_text())["overrides"]
    down = {"layers.*.mlp.down": "gptq-int4-g32"}  # no other group divides its rows
    assert found == {"layers.0.*": "rtn-int8-g32", "embed": "fp16", **down}
    assert edge("verify", out, "--against", assets / STORIES, "--tokens", "16").code == 0


def test_several_artifacts_are_compared_in_a_table(
    edge: Edge, artifact: Path, assets: Path, tmp_path: Path
) -> None:
    both, source = (artifact, tmp_path / "other"), assets / STORIES
    assert edge("convert", source, "--quant", "fp32", "-o", both[1]).code == 0
    given = ("verify", *both, "--against", source, "--tokens", "8")
    done = edge(*given)
    assert done.code == 0
    title, *rows = done.out.splitlines()
    assert "logits error" in title
    assert [row.split()[1] for row in rows] == ["yes", "yes"]
    assert [row["path"] for row in edge(*given, "--json").json["artifacts"]] == list(map(str, both))
    timed = edge("bench", *both, "-p", "16", "-n", "4", "--rounds", "1", "--json").json
    assert all(row["decode_tps"] > 0 for row in timed["artifacts"])


def test_a_runtime_is_that_of_the_artifact(edge: Edge, artifact: Path, assets: Path) -> None:
    given = ("--raw", "--max-tokens", "2", "--json")
    assert edge("run", artifact, "a b", "--runtime", "onnx", *given).code == 0
    done = edge("run", artifact, "a b", "--runtime", "mlx", *given)
    assert done.code == 2
    assert "artifact of onnx" in done.err
    assert edge("run", assets / STORIES, "a b", "--runtime", "onnx", *given).code == 0
    assert edge("run", assets / STORIES, "a b", "--runtime", "toaster", *given).code == 2


def test_verify_of_more_tokens_than_fit(edge: Edge, assets: Path, copy: Path) -> None:
    done = edge("verify", copy, "--against", assets / STORIES, "--tokens", "512")
    assert done.code == 2
    assert "512" in done.err


def test_run_and_bench_compact_the_cache(edge: Edge, artifact: Path) -> None:
    text, snap = (
        "Once upon a time there was a dog. " * 12,
        ("--snapkv", "48", "--snapkv-window", "8"),
    )
    found = answer(edge, artifact, text, "--raw", "--max-tokens", "4", *snap)
    assert len(found["prompt_tokens"]) > 60
    assert found["cache_rows"] == 48 + 3, "the last token is never fed"
    whole = answer(edge, artifact, text, "--raw", "--max-tokens", "4")
    assert whole["cache_rows"] == len(whole["prompt_tokens"]) + 3
    assert found["cache_mb"] < whole["cache_mb"] / 2
    timing = edge("bench", artifact, "-p", "120", "-n", "4", "--rounds", "1", "--json", *snap).json
    assert timing["cache_rows"] == 52


def test_an_int8_cache_takes_a_quarter(edge: Edge, artifact: Path) -> None:
    text = "Once upon a time there was a dog. " * 40
    given = ("--raw", "--max-tokens", "4")
    whole = answer(edge, artifact, text, *given)
    found = answer(edge, artifact, text, *given, "--kv", "int8")
    assert len(found["prompt_tokens"]) > 256
    assert found["cache_rows"] == whole["cache_rows"]
    assert found["cache_mb"] == whole["cache_mb"] / 4
    short = answer(edge, artifact, "Once upon a time", *given, "--kv", "int8")
    assert short["cache_mb"] * whole["cache_rows"] == pytest.approx(
        whole["cache_mb"] * short["cache_rows"]
    ), "too short to measure scales: float32, and says so"
    snap = ("--snapkv", "280", "--kv", "int8", "--rounds", "1", "--json")
    timing = edge("bench", artifact, "-p", "400", "-n", "4", *snap).json
    assert timing["cache_rows"] == 284
    assert timing["cache_mb"] == pytest.approx(284 / whole["cache_rows"] * found["cache_mb"])


@pytest.mark.parametrize(
    "given",
    [
        ("--snapkv-sinks", "2"),
        ("--snapkv-prefill", "24"),
        ("--snapkv-for", "reuse", "--snapkv-prefill", "24"),
    ],
    ids=str,
)
def test_every_way_of_compacting_keeps_its_rows(
    edge: Edge, artifact: Path, given: tuple[str, ...]
) -> None:
    text, snap = (
        "Once upon a time there was a dog. " * 12,
        ("--snapkv", "48", "--snapkv-window", "8"),
    )
    found = answer(edge, artifact, text, "--raw", "--max-tokens", "4", *snap, *given)
    assert found["cache_rows"] == 48 + 3


@pytest.mark.parametrize(
    "given",
    [
        ("--layerskip", "2", "--draft", "3"),
        ("--draft-by", "lookup"),
        ("--draft-by", "snapkv", "--snapkv", "40", "--snapkv-window", "8"),
    ],
    ids=str,
)
def test_drafts_change_no_answer(
    edge: Edge, assets: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    """In fp32; with int8 activations a batch rounds otherwise than single steps."""
    out, text = tmp_path / "out", "Once upon a time there was a dog. " * 12
    options = ("--quant", "fp32", "--layerskip", "2", "--draft-vocab", "300", "-o", out)
    assert edge("convert", assets / STORIES, *options).code == 0
    plain = answer(edge, out, text, "--raw", "--max-tokens", "40")
    drafted = answer(edge, out, text, "--raw", "--max-tokens", "40", *given)
    assert drafted["tokens"] == plain["tokens"]
    assert 0 < drafted["accepted"] <= drafted["drafted"]
    assert "drafted" not in plain
    timing = edge("bench", out, "-p", "120", "-n", "8", "--rounds", "1", "--json", *given).json
    assert timing["drafted"] is not None
    assert edge("verify", out, "--against", assets / STORIES, "--tokens", "8").code == 0


def test_fast_measures_once_and_says_what_it_chose(
    edge: Edge, assets: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--quant", "fp32", "--layerskip", "2", "-o", out)
    assert edge("convert", assets / STORIES, *options).code == 0
    given = ("run", out, "Once upon a time", "--raw", "--max-tokens", "8", "--fast", "--json")
    first, second = edge(*given), edge(*given)
    plain = answer(edge, out, "Once upon a time", "--raw", "--max-tokens", "8")
    assert first.json["tokens"] == second.json["tokens"] == plain["tokens"]
    for words in (
        "measuring",
        "plain decoding: ",
        "--layerskip 2",
        "--draft-by lookup",
        "decoding by",
    ):
        assert words in first.err
    assert "measuring" not in second.err
    assert "decoding by" in second.err
    (out / "tuning.json").write_text("[]")
    assert "measuring" in edge(*given).err, "a broken file is measured anew"
    assert edge("run", out, "a b", "--raw", "--fast", "--snapkv", "64").code == 2


def test_bench_measures_quality(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One case and one mode of the model that ships with edge."""
    monkeypatch.setattr(quality, "MODES", {"narrow": quality.NARROW})
    out, file = tmp_path / "out", tmp_path / "q.json"
    assert edge("convert", "edge-stories", "--to", "onnx", "--quant", "fp32", "-o", out).code == 0
    done = edge("bench", out, "--quality", file, "--cases", "1", "--threads", "1")
    assert done.code == 0, done.err
    assert done.out.split("\n")[0].split() == ["TASK", "MODE", "all", "1/2", "1/4", "1/8", "1/16"]
    assert {row["task"] for row in json.loads(file.read_text())["cells"]} == set(quality.TASKS)
    assert ElementTree.parse(file.with_suffix(".svg")).getroot().tag.endswith("svg")
    for more in (("--snapkv", "64"), (out,)):
        refused = edge("bench", out, *more, "--quality", file)
        assert (refused.code, "every way of one artifact" in refused.err) == (2, True)
    assert "picture's name" in edge("bench", out, "--quality", tmp_path / "q.svg").err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--snapkv", "32"), "above the window"),
        (("--snapkv", "64", "--snapkv-kernel", "4"), "odd kernel"),
        (("--snapkv", "64", "--snapkv-pool", "sum"), "not one of 'max', 'avg'"),
        (("--snapkv", "64", "--snapkv-layers", "odd"), "not one of 'even', 'pyramid'"),
        (("--snapkv", "64", "--snapkv-for", "fun"), "not one of 'question', 'reuse'"),
        (("--snapkv", "64", "--snapkv-prefill", "63"), "64 tokens or more"),
        (("--snapkv", "64", "--snapkv-sinks", "32"), "the sinks"),
        (("--snapkv-prefill", "128"), "--snapkv 1024"),
        (("--snapkv-for", "reuse"), "--snapkv 1024"),
        (("--draft-by", "magic"), "not one of 'lookup', 'snapkv'"),
        (("--draft-by", "snapkv"), "--snapkv"),
        (("--draft-by", "lookup", "--layerskip", "1"), "one drafter"),
        (("--kv", "int4"), "not one of 'int8'"),
        (("--kv", "int8", "--layerskip", "1"), "leave out --kv"),
        (("--kv", "int8", "--reference"), "leave out --reference"),
    ],
)
def test_strategies_refuse(edge: Edge, artifact: Path, given: tuple[str, ...], words: str) -> None:
    done = edge("run", artifact, "a b", "--raw", *given)
    assert done.code == 2
    assert words in done.err


# run


def test_run(edge: Edge, artifact: Path) -> None:
    found = answer(edge, artifact, PROMPT, "--raw", "--max-tokens", "20", "--temperature", "0")
    assert {"text", "tokens", "prompt_tokens", "prefill_tps", "decode_tps"} <= set(found)
    assert len(found["tokens"]) == 20
    assert found["prompt_tokens"][0] == 1, "BOS"
    assert found["prefill_tps"] > 0
    assert found["decode_tps"] > 0
    plain = edge("run", artifact, PROMPT, "--raw", "--max-tokens", "20")
    assert (plain.code, plain.out) == (0, found["text"] + "\n")
    assert answer(edge, artifact, PROMPT, "--raw", "--max-tokens", "20")["text"] == found["text"]


def test_a_dash_reads_stdin(edge: Edge, artifact: Path) -> None:
    args = ("--raw", "--max-tokens", "5")
    want = answer(edge, artifact, PROMPT, *args)
    got = answer(edge, artifact, "-", *args, stdin=PROMPT)
    assert got["tokens"] == want["tokens"]
    assert got["prompt_tokens"] == want["prompt_tokens"]


def test_raw_strips_nothing(edge: Edge, artifact: Path) -> None:
    args = ("--raw", "--max-tokens", "1")
    bare = answer(edge, artifact, "-", *args, stdin=PROMPT)
    more = answer(edge, artifact, "-", *args, stdin=f"  {PROMPT}\n\n")
    assert len(more["prompt_tokens"]) > len(bare["prompt_tokens"])


def test_sampling_repeats_by_its_seed(edge: Edge, artifact: Path) -> None:
    args = ("--raw", "--max-tokens", "12", "--temperature", "1.5")
    runs = [answer(edge, artifact, PROMPT, *args, "--seed", seed)["tokens"] for seed in "778"]
    assert runs[0] == runs[1] != runs[2]


def test_a_stop_string_ends_before_itself(edge: Edge, artifact: Path) -> None:
    free = answer(edge, artifact, PROMPT, "--raw", "--max-tokens", "16")["text"]
    word = f" {free.split()[5]}"
    found = answer(edge, artifact, PROMPT, "--raw", "--stop", word, "--stop", "nowhere")
    assert found["text"] == free[: free.index(word)] != ""
    assert found["ending"] == "stop"


def test_raw_has_no_system_message(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, PROMPT, "--raw", "--system", "Be brief.")
    assert done.code == 2
    assert "--raw" in done.err
    no_template = edge("run", artifact, PROMPT, "--system", "Be brief.")
    assert no_template.code == 2
    assert "template" in no_template.err


def test_a_prompt_that_does_not_fit_says_what_fits(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, "-", "--raw", "--json", stdin="word " * 2000)
    assert done.code == 2
    assert done.out == ""
    assert "512 fit" in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("phi-3-mini",), "phi-3-mini-4k"),
        (("lama-2-7b", "a prompt"), "llama-2-7b"),
        (("phi-3-mini-4k", "a prompt"), "edge pull phi-3-mini-4k"),
        (("--raw",), "chat"),
        (("--json",), "chat"),
        (("a prompt", "--temperature", "-1"), "temperature"),
        (("a prompt", "--top-p", "2"), "top_p"),
        (("a prompt", "--max-tokens", "0"), "max-tokens"),
    ],
    ids=str,
)
def test_run_refuses(edge: Edge, args: tuple[str, ...], words: str) -> None:
    done = edge("run", *args)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_an_empty_prompt_is_refused(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, "-", stdin="")
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


def test_a_checkpoint_is_converted_on_first_use(edge: Edge, assets: Path) -> None:
    args = ("--raw", "--max-tokens", "4")
    first = answer(edge, assets / STORIES, PROMPT, *args)
    kept = [row for row in edge("list", "--json").json["models"] if row["kind"] == "artifact"]
    assert len(kept) == 1
    stamp = Path(kept[0]["id"], MANIFEST).stat().st_mtime_ns
    assert answer(edge, assets / STORIES, PROMPT, *args)["tokens"] == first["tokens"]
    assert Path(kept[0]["id"], MANIFEST).stat().st_mtime_ns == stamp


def test_a_single_argument_that_is_a_prompt(
    edge: Edge, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the packaged model: here a stand-in."""
    entry = registry.entries()[registry.DEFAULT]
    monkeypatch.setattr(type(entry), "checkpoint", lambda _: assets / STORIES)
    done = edge("run", PROMPT, "--max-tokens", "4", "--json")
    assert done.code == 0, done.err
    assert len(done.json["tokens"]) == 4
    assert done.json["text"].startswith(", there")


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", MANIFEST])
def test_a_damaged_artifact_is_one_error(edge: Edge, copy: Path, name: str) -> None:
    """The runtime's own log included: nothing but our words on stderr."""
    (copy / name).write_bytes((copy / name).read_bytes()[:200])
    done = edge("run", copy, PROMPT, "--raw", "--max-tokens", "2")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("edge: ")
    assert len(done.err.splitlines()) == 2, done.err
    assert "Traceback" not in done.err


# bench, eval, inspect, list, doctor


def test_bench_reads_its_prompts_from_a_text(edge: Edge, artifact: Path, tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text("Once upon a time there was a dog. " * 30)
    given = ("bench", artifact, "-p", "40", "-n", "8", "--text", text, "--draft-by", "lookup")
    done = edge(*given, "--json").json
    assert (done["prompt"], done["rounds"]) == (40, 3)
    assert 0 < done["accepted"] <= done["drafted"], "the text repeats itself"
    text.write_text("Once.")
    refused = edge(*given)
    assert refused.code == 2
    assert "no prompt of 40" in refused.err


def test_bench(edge: Edge, artifact: Path) -> None:
    args = ("-p", "64", "-n", "4", "--threads", "1", "--rounds", "2", "--json")
    done = edge("bench", artifact, *args)
    assert done.code == 0, done.err
    for key in ("prefill_tps", "decode_tps", "peak_rss_mb"):
        assert done.json[key] > 0
    assert len(done.json["decode_all"]) == 2
    refused = edge("bench", artifact, "-p", "512", "-n", "64")
    assert refused.code == 2
    assert "512" in refused.err


def test_eval(edge: Edge, artifact: Path, assets: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text((assets / "text/tinystories/tinystories_sample.txt").read_text()[:900])
    done = edge("eval", artifact, "--text", text, "--json")
    assert done.code == 0, done.err
    assert {"nats_per_token", "nats_per_token_se", "perplexity", "tokens"} <= set(done.json)
    assert done.json["perplexity"] == pytest.approx(np.exp(done.json["nats_per_token"]))
    assert 1 < done.json["nats_per_token"] < 3
    shorter = edge("eval", artifact, "--text", text, "--window", "32", "--json").json
    assert shorter["tokens"] == done.json["tokens"]
    assert shorter["nats_per_token"] > done.json["nats_per_token"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", None])
def test_eval_of_no_text(edge: Edge, artifact: Path, tmp_path: Path, content: bytes | None) -> None:
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    done = edge("eval", artifact, "--text", text)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_inspect(edge: Edge, artifact: Path, assets: Path) -> None:
    checkpoint = edge("inspect", assets / STORIES, "--json").json
    found = edge("inspect", artifact, "--json").json
    assert (checkpoint["kind"], found["kind"]) == ("checkpoint", "artifact")
    same = ("parameters", "context", "vocab", "width", "layers", "heads", "kv_heads", "tied")
    assert {key: found[key] for key in same} == {key: checkpoint[key] for key in same}
    assert found["recipe"] == "gptq-int4-g64"
    assert found["overrides"] == {"layers.*.mlp.down": "gptq-int4-g32"}
    assert found["calibration"]["text"] == "calibration.txt"
    assert found["target"] == "onnx"


def test_list_and_doctor(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = edge("list", "--json")
    assert len(listed.out.splitlines()) == 1
    assert {row["id"] for row in listed.json["models"]} >= {"edge-stories", "llama-3.2-1b"}
    doctor = edge("doctor", "--json")
    assert len(doctor.out.splitlines()) == 1
    assert doctor.json["convert"]["onnx"] == doctor.json["run"]["onnx"] == "ok"
    assert doctor.json["packages"]["onnxruntime"]
    assert doctor.json["processors"]["used"] <= doctor.json["processors"]["there"]
    assert "phi-3-mini-4k" in edge("list").out
    monkeypatch.setenv("EDGE_HOME", __file__)
    plain = edge("doctor")
    assert plain.code == 0, "it finds what is wrong, so it works without"
    assert f"{__file__}, which is a file\n{'':12}  fix: set EDGE_HOME" in plain.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(edge: Edge, command: str) -> None:
    done = edge(command, "--help")
    assert done.code == 0
    assert f"Example: edge {command}" in done.out


def test_help_documents_the_exit_codes(edge: Edge) -> None:
    out = " ".join(edge("--help").out.split())
    assert (
        "0 done; 1 a verification failed; 2 a wrong request; 3 not supported here; 4 a damaged file"
        in out
    )
    assert "70 a mistake of edge's own; 130 interrupted; 141 nobody read its output" in out
    assert not [command for command in COMMANDS if command not in out]


def test_a_process_of_its_own_answers(artifact: Path) -> None:
    done = run("run", str(artifact), PROMPT, "--raw", "--max-tokens", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(",")
    assert done.stderr == ""


def test_a_closed_pipe_says_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    process.wait(30)
    assert process.stderr is not None
    assert process.stderr.read() == ""
