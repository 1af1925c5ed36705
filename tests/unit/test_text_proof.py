"""The judge of an artifact's texts is the source's own library: each figure fails when it should."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepieces import trained
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, EdgeError, Unsupported
from edge.prove import judges, probes, texts
from edge.prove.texts import TextProof, prove
from edge.prove.verify import verify
from edge.text import sentencepiece
from edge.text.tokenizer import Tokenizer
from edge.text.vocabulary import complete, vocabularies

pytest.importorskip("sentencepiece")
pytest.importorskip("tiktoken")

CONFIG = {
    "bos_token": "<s>",
    "eos_token": {"content": "</s>"},
    "added_tokens_decoder": {"399": {"content": "<|end|>", "special": True, "rstrip": True}},
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TOLD = {**CONFIG, "chat_template": TEMPLATE}
MODEL = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 399}


def source_of(folder: Path, config: dict[str, Any] = CONFIG, **options: Any) -> Path:
    """A checkpoint whose tokenizer is a tokenizer.model."""
    tiny(folder, vocab_size=400, num_hidden_layers=1)
    (folder / "tokenizer.model").write_bytes(trained(**{**MODEL, **options}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("proof")
    source = source_of(folder / "source")
    return source, converted(folder / "it", source)


@pytest.fixture
def pair(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A source and its artifact, to be broken."""
    for folder, name in zip(made, ("source", "it"), strict=True):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "source", tmp_path / "it"


def proved(pair: tuple[Path, Path]) -> TextProof:
    return prove(Artifact.open(pair[1]), pair[0])


def told(pair: tuple[Path, Path], source: dict[str, Any], artifact: dict[str, Any]) -> TextProof:
    """Of these settings."""
    for folder, config in zip(pair, (source, artifact), strict=True):
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return proved(pair)


def test_who_judged_and_how_much(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source", TOLD)
    report = verify(Artifact.open(converted(tmp_path / "it", source)), source, tokens=2)
    assert report.passed
    [judged] = report.json()["judged"]  # type: ignore[misc]
    assert judged.pop("texts") > 100  # type: ignore[attr-defined]
    assert judged == {
        "library": "sentencepiece", "file": "tokenizer.model", "differing": 0, "first": None, "note": None,
    }  # fmt: skip
    assert report.conversations == len(probes.CONVERSATIONS) == 4


@pytest.mark.parametrize("name", ["llama-2", "phi-3"])
def test_real_tokenizers_pass(assets: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(assets / "tokenizers" / name, tmp_path / name)
    files = vocabularies(assets / "tokenizers" / name)
    complete(tmp_path / name)
    for judged in texts._judged(tmp_path / name, judges.of(files), []):
        assert (judged.differing, judged.first) == (0, None)
        assert judged.texts > 80
    assert [judge.library for _, judge in judges.of(files).judges] == [
        {".json": "tokenizers", ".model": "sentencepiece"}[file.suffix] for file in files
    ]


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = json.loads((folder / "tokenizer.json").read_text())
        change(table)
        (folder / "tokenizer.json").write_text(json.dumps(table))

    return apply


def swapped(vocab: dict[str, int]) -> None:
    vocab["▁the"], vocab["▁that"] = vocab["▁that"], vocab["▁the"]


def without_flags(folder: Path) -> None:
    config = {**CONFIG, "added_tokens_decoder": {"399": {"content": "<|end|>", "special": True}}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


BREAKS: dict[str, Callable[[Path], None]] = {
    "two ids": changed(lambda d: swapped(d["model"]["vocab"])),
    "order of merges": changed(lambda d: d["model"]["merges"].reverse()),
    "one merge": changed(lambda d: d["model"]["merges"].pop(0)),
    "prefix": changed(lambda d: d["normalizer"]["normalizers"].pop(0)),
    "form": changed(lambda d: d["normalizer"]["normalizers"].append({"type": "NFC"})),
    "bytes": changed(lambda d: d["model"].update(byte_fallback=False)),
    "decoder": changed(lambda d: d["decoder"]["decoders"].pop()),
    "beginning": changed(lambda d: d.update(post_processor=None)),
    "special": changed(lambda d: d["added_tokens"].pop()),
    "digits": changed(
        lambda d: d.update(pre_tokenizer={"type": "Digits", "individual_digits": False})
    ),
    "blanks that a token swallows": without_flags,
}


@pytest.mark.parametrize("damage", BREAKS.values(), ids=BREAKS.keys())
def test_a_wrong_tokenizer_is_seen(pair: tuple[Path, Path], damage: Callable[[Path], None]) -> None:
    damage(pair[1])
    found = proved(pair)
    assert not found.same_tokens
    assert found.judged[0].differing
    assert found.judged[0].first


MISREAD: dict[str, dict[str, Any]] = {
    "unigram": {"model_type": "unigram"},
    "another normalizer": {"normalization_rule_name": "nmt_nfkc"},
    "blank at the end": {"treat_whitespace_as_suffix": True},
}


@pytest.mark.parametrize("options", MISREAD.values(), ids=MISREAD.keys())
def test_what_the_reader_misreads_the_judge_sees(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readings by one reader agree, whatever it overlooks: as it did all of these."""
    source = source_of(tmp_path / "source", **options)
    (source / "tokenizer_config.json").unlink()
    monkeypatch.setattr(sentencepiece, "_inexact", lambda _: iter(()))
    artifact = converted(tmp_path / "it", source)
    assert not prove(Artifact.open(artifact), source).same_tokens


def test_without_its_library_nothing_is_proved(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(
        Unsupported, match=r"tokenizer\.model is judged by the package sentencepiece"
    ) as error:
        verify(Artifact.open(pair[1]), pair[0], tokens=2)
    assert "pip install 'edge-toolkit[sentencepiece]'" in str(error.value.fix)


def test_a_second_vocabulary_is_judged_or_named(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, artifact = pair
    shutil.copyfile(artifact / "tokenizer.json", source / "tokenizer.json")
    found = proved(pair)
    assert [(j.library, j.differing) for j in found.judged] == [
        ("tokenizers", 0),
        ("sentencepiece", 0),
    ]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "sentencepiece", None)
        absent = proved(pair).judged[1]
    assert (absent.library, absent.file, absent.texts) == ("none", "tokenizer.model", 0)
    assert absent.note is not None
    assert "not installed" in absent.note
    (source / "tokenizer.model").write_bytes(trained(**{**MODEL, "add_dummy_prefix": False}))
    contradiction = proved(pair)
    assert not contradiction.same_tokens
    assert [judgement.differing > 0 for judgement in contradiction.judged] == [False, True]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", ["LlamaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_the_blank_that_the_settings_ask_for(
    tmp_path: Path, name: str, kind: str, own: bool, wanted: bool
) -> None:
    """add_prefix_space against the vocabulary: transformers' class of Llama alone listens to it."""
    model = tmp_path / "tokenizer.model"
    model.write_bytes(trained(**MODEL, add_dummy_prefix=own))
    if name == "tokenizer.json":
        complete(tmp_path)
        model.unlink()
    config = {
        "tokenizer_class": kind,
        "add_prefix_space": wanted,
        "bos_token": "<s>",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    [judged] = texts._judged(tmp_path, judges.of(vocabularies(tmp_path)), [])
    assert (judged.differing, judged.first) == (0, None)
    ours = Tokenizer.load(tmp_path)
    for text in ("the cat sat", "\nthe"):  # of blanks in front transformers drops one
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, special=False) == ids
        assert ours.decode(ids) == theirs.decode(ids)


def test_a_tokenizer_of_another_folder(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Its copies are judged, as long as they are what was read."""
    bare = tiny(tmp_path / "bare", vocab_size=400, num_hidden_layers=1)
    artifact = converted(tmp_path / "it", bare, tokenizer=made[0])
    assert proved((bare, artifact)).judged[0].texts > 100
    (artifact / "tokenizer.model").write_bytes(trained(**{**MODEL, "split_digits": True}))
    lost = proved((bare, artifact))
    assert (lost.judged, lost.same_tokens) == ((), False)


def test_a_tokenizer_that_one_of_them_lacks(made: tuple[Path, Path], tmp_path: Path) -> None:
    bare = tiny(tmp_path / "bare", vocab_size=400, num_hidden_layers=1)
    artifact = converted(tmp_path / "none", bare)
    assert proved((bare, artifact)).same_tokens
    assert not proved((made[0], artifact)).same_tokens


OTHERS: dict[str, dict[str, Any]] = {
    "a letter": {"chat_template": TEMPLATE + " "},
    "none": {"chat_template": None},
    "a name": {"eos_token": "<s>"},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_another_template_is_seen(pair: tuple[Path, Path], change: dict[str, Any]) -> None:
    assert not told(pair, TOLD, {**TOLD, **change}).same_template


@pytest.mark.parametrize("as_list", [True, False])
def test_a_template_in_another_place_is_the_same(pair: tuple[Path, Path], as_list: bool) -> None:
    others = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    if not as_list:
        (pair[0] / "chat_template.jinja").write_text(TEMPLATE)
    there = {**CONFIG, "chat_template": others if as_list else "never read"}
    assert told(pair, there, TOLD).same_template


def test_a_template_that_refuses_shows_less(pair: tuple[Path, Path]) -> None:
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    config = {**CONFIG, "chat_template": refusal + TEMPLATE}
    assert told(pair, config, config).conversations == 3


def test_a_vocabulary_that_the_library_does_not_read(pair: tuple[Path, Path]) -> None:
    (pair[0] / "tokenizer.model").write_bytes(b"\x0a\x03abc")
    with pytest.raises(EdgeError, match="sentencepiece does not read"):
        proved(pair)


@pytest.mark.parametrize(
    "config",
    [
        {"added_tokens_decoder": {"x": {"content": "a"}}},
        {"added_tokens_decoder": {"1": {}}},
        {"added_tokens_decoder": [1]},
        {"bos_token": {"text": "<s>"}},
        {"chat_template": [{"name": "default"}]},
        {"chat_template": [1]},
    ],
)
def test_settings_of_another_shape_are_one_error(
    pair: tuple[Path, Path], config: dict[str, Any]
) -> None:
    (pair[0] / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(Damaged, match="the tokenizer's files in"):
        proved(pair)


def test_a_source_of_gigabytes_is_not_read(pair: tuple[Path, Path]) -> None:
    with (pair[0] / "tokenizer.model").open("r+b") as file:
        file.truncate(5 << 30)
    with pytest.raises(Damaged, match="larger than"):
        proved(pair)
