"""Every entry of models.yaml is true to its family and to the facts; a typo finds its neighbour."""

import json
from pathlib import Path

import pytest
from published import PUBLISHED
from support import tiny

from edge import api, targets
from edge.command.arguments import split_prompt
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.families import families, family_of, pipeline_of, pipelines
from edge.files.config import Config
from edge.measure.inspection import parameters
from edge.pipelines.options.speech import SPEAKER
from edge.quant import recipe
from edge.source import registry


def hub_models() -> list[registry.Entry]:
    return [entry for entry in registry.entries().values() if entry.source is not None]


@pytest.mark.parametrize("entry", registry.entries().values(), ids=lambda entry: entry.id)
def test_every_entry_is_valid(entry: registry.Entry) -> None:
    assert entry.family in {family.name for family in (*families(), *pipelines())}
    ways = (entry.package, entry.source, entry.url)
    assert sum(way is not None for way in ways) == 1
    assert (entry.url is None) == (entry.config is None)
    assert entry.context is None or 0 < entry.context <= 1 << 20
    assert entry.licence
    assert entry.parameters is None or entry.parameters > 0
    assert all(name == name.lower() and " " not in name for name in (entry.id, *entry.aliases))
    target = entry.target or "onnx"
    recipe.parse(entry.quant or "int4", aliases=targets.converter(target).ALIASES)


def told(config: Config) -> tuple[str, int, int | None]:
    """Family, parameters and context, as a config has them."""
    pipeline = pipeline_of(config)
    parts = [config] if pipeline is None else [stage.config(config) for stage in pipeline.stages]
    specs = [family_of(part).spec(part) for part in parts]
    name = family_of(config).name if pipeline is None else pipeline.name
    return name, sum(map(parameters, specs)), getattr(specs[-1], "context", None)


def said(entry: registry.Entry) -> tuple[str, int | None, int | None]:
    return entry.family, entry.parameters, entry.context


def test_every_name_means_one_model() -> None:
    names = [
        name.lower()
        for entry in registry.entries().values()
        for name in (entry.id, *entry.aliases, entry.source)
        if name is not None
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", hub_models(), ids=lambda entry: entry.id)
def test_what_is_said_of_a_model_follows_from_its_config(entry: registry.Entry) -> None:
    assert told(Config(PUBLISHED[entry.id], "config.json")) == said(entry)


def test_files_of_weights_alone_have_the_config_that_they_lack() -> None:
    entries = [entry for entry in registry.entries().values() if entry.url is not None]
    assert len(entries) == 3
    for entry in entries:
        assert entry.config == PUBLISHED[entry.id]
        spec = family_of(Config(entry.config, entry.id)).spec(Config(entry.config, entry.id))
        assert parameters(spec) == entry.parameters


def test_what_is_said_of_packaged_models_follows_from_their_configs() -> None:
    packaged = [entry for entry in registry.entries().values() if entry.package]
    assert [entry.id for entry in packaged] == [registry.DEFAULT, registry.READER, SPEAKER]
    for entry in packaged:
        file = entry.checkpoint() / "config.json"
        assert told(Config(json.loads(file.read_bytes()), file.name)) == said(entry)


def test_models_that_were_trained_with_exits_say_so() -> None:
    """LayerSkip's: gated, for research alone; exits lie within the layers."""
    marked = [entry for entry in registry.entries().values() if entry.exits]
    assert [entry.id for entry in marked] == [
        entry.id for entry in hub_models() if str(entry.source).startswith("facebook/layerskip-")
    ]
    assert len(marked) == 7
    for entry in marked:
        config = Config(PUBLISHED[entry.id], "config.json")
        assert all(0 < at < len(family_of(config).spec(config).layers) for at in entry.exits)
        assert (entry.licence, entry.gated) == ("FAIR-Noncommercial-Research", True)


def test_exits_that_were_trained_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an id alone; what is asked for comes first."""
    source = tiny(tmp_path / "llama", num_hidden_layers=6)
    entry = registry.entries()["layerskip-llama3.2-1b"]
    monkeypatch.setattr(registry.Entry, "checkpoint", lambda _: source)
    kept = {}
    for name, model, exits in (
        ("trained", entry.id, ()),
        ("asked", entry.id, (2, 3)),
        ("folder", str(source), ()),
    ):
        options = Options(quant="fp32", exits=exits)
        (made,) = api.convert_model(model, "onnx", tmp_path / name, options)
        kept[name] = made.manifest.spec.exits
    assert kept == {"trained": (4,), "asked": (2, 3), "folder": ()}


def test_every_published_config_is_in_the_registry() -> None:
    known = {entry.id for entry in registry.entries().values() if entry.package is None}
    assert PUBLISHED.keys() == known


@pytest.mark.parametrize(
    "name", ["phi-3-mini-4k", "phi3", "Phi3", "microsoft/Phi-3-mini-4k-instruct"]
)
def test_a_model_has_several_names(name: str) -> None:
    entry = registry.find(name)
    assert entry is not None
    assert entry.id == "phi-3-mini-4k"


def test_a_folder_is_itself_and_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "microsoft/Phi-3-mini-4k-instruct"
    assert registry.find(name) is not None
    Path(name).mkdir(parents=True)
    assert registry.find(name) is None


def test_the_default_ships_with_the_package() -> None:
    entry = registry.find(registry.DEFAULT)
    assert entry is not None
    assert entry.package is not None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("phi-3-mini", "phi-3-mini-4k"),
        ("lama-3-8b", "llama-3-8b"),
        ("openelm270m", "openelm-270m"),
        ("Edge-Storys", "edge-stories"),
    ],
)
def test_a_typo_finds_its_neighbour(typed: str, meant: str) -> None:
    error = registry.nearest(typed)
    assert repr(typed) in error.problem
    assert meant in error.fix


def test_an_absent_checkpoint_says_where_it_is() -> None:
    entry = registry.find("phi-3-mini-4k")
    assert entry is not None
    with pytest.raises(EdgeError, match="edge pull phi-3-mini-4k"):
        entry.checkpoint()


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (None, None, (None, None)),
        ("phi-3-mini-4k", None, ("phi-3-mini-4k", None)),
        (".", None, (".", None)),
        ("-", None, (None, "-")),
        ("Once upon a time", None, (None, "Once upon a time")),
        ("phi-3-mini-4k", "Hi", ("phi-3-mini-4k", "Hi")),
        ("nonsense", "Hi", ("nonsense", "Hi")),  # refused where the model is opened
    ],
)
def test_positional_arguments_of_run(
    first: str | None, second: str | None, want: tuple[str | None, str | None]
) -> None:
    assert split_prompt(first, second) == want


def test_one_word_that_is_no_model_is_no_prompt() -> None:
    with pytest.raises(EdgeError, match="phi-3-mini-4k"):
        split_prompt("phi-3-mini-4", None)
