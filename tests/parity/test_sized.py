"""`--size`: bits by what they are worth to a model, within so many bytes of all files."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import run

from edge.api import eval_text, verify_artifact
from edge.artifact.manifest import Artifact, recipe_of
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert
from edge.convert.footprint import Footprint
from edge.convert.options import Options
from edge.errors import EdgeError, Unsupported
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.system.units import nbytes

QUANT = {
    "onnx": "rtn-int4-g32",
    "mlx": "rtn-int4-g32-min",
    "torch": "rtn-int4-g32-fp16",
    "gguf": "q4_k_m",
}


def asked(text: Path, target: str, size: int) -> Options:
    """Between what 4 and what 8 bits take."""
    return Options(
        target=target, quant=QUANT[target], size=size, calibrate=Calibration.of(text, 256)
    )


def of_all(folder: Path) -> int:
    """Bytes of every file below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def bits(artifact: Artifact) -> set[int]:
    recipe, every = recipe_of(artifact.manifest), shapes(artifact.manifest.spec).items()
    return {
        recipe.scheme(name).bits
        for name, shape in every
        if name.startswith("layers.") and len(shape) == 2
    }


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of whole artifacts that conversions asked for."""
    every: list[int] = []
    nbytes = Footprint.nbytes

    def heard(self: Footprint, recipe: Recipe) -> int:
        every.append(nbytes(self, recipe))
        return every[-1]

    monkeypatch.setattr(Footprint, "nbytes", heard)
    return every


@pytest.mark.parametrize("target", QUANT)
def test_all_files_are_no_larger_and_are_proved(
    target: str, world_text: Path, tmp_path: Path, short_stories: Path, planned: list[int]
) -> None:
    few = of_all(
        convert(short_stories, tmp_path / "few", Options(target=target, quant=QUANT[target])).folder
    )
    size = int(1.15 * few)
    artifact = convert(short_stories, tmp_path / "it", asked(world_text, target, size))
    taken = of_all(artifact.folder)
    assert taken in planned, "what is foreseen is what is written"
    assert 0.95 * size < taken <= size
    assert any(size < other < 1.1 * size for other in planned), "and more was tried"
    assert len(bits(artifact)) > 1, "one width everywhere is no choice"
    assert verify_artifact(artifact.folder, str(short_stories), tokens=16).passed
    if target == "onnx":
        again = convert(short_stories, tmp_path / "again", asked(world_text, target, size))
        assert again.files == artifact.files


@pytest.mark.parametrize("quant", ["awq-int4-g64", "int4"])
def test_what_a_text_makes_is_foreseen_as_well(
    quant: str, world_text: Path, tmp_path: Path, short_stories: Path, planned: list[int]
) -> None:
    options = replace(asked(world_text, "onnx", 1_500_000), quant=quant)
    taken = of_all(convert(short_stories, tmp_path / "it", options).folder)
    # What is not balanced after all takes a little less.
    assert any(
        taken <= nbytes <= taken + 20_000 * options.quant.startswith("awq") for nbytes in planned
    )


def test_it_loses_less_than_one_width_of_as_many_bytes(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    plain = convert(
        short_stories, tmp_path / "plain", Options(target="torch", quant="rtn-int3-g32-fp16")
    )
    size = of_all(plain.folder)
    sized = convert(
        short_stories,
        tmp_path / "sized",
        replace(asked(world_text, "torch", size), quant="rtn-int3-g32-fp16"),
    )
    lost = [
        eval_text(one.folder, world_text, against=str(short_stories), window=128, threads=None).kl
        for one in (plain, sized)
    ]
    assert of_all(sized.folder) <= size
    assert lost[1] < 0.7 * lost[0], lost


@pytest.mark.parametrize("given", [{}, {"embed": "fp16"}, {"head": "fp16"}])
def test_ends_are_ranked_unless_they_are_given(
    given: dict[str, str], world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    options = replace(asked(world_text, "torch", 2_500_000), **given)  # type: ignore[arg-type]
    manifest = convert(short_stories, tmp_path / "it", options).manifest
    found = {"embed": manifest.embed, "head": manifest.head}
    for end, word in found.items():
        assert word == given[end] if end in given else word.startswith("rtn-int8")
    assert len({*found.values()}) == 1 + len(given), "a tied table has one precision"


def test_what_patterns_name_stays(world_text: Path, tmp_path: Path, short_stories: Path) -> None:
    options = replace(asked(world_text, "onnx", 3 << 20), overrides={"layers.0.attn.*": "int8"})
    artifact = convert(short_stories, tmp_path / "it", options)
    recipe = recipe_of(artifact.manifest)
    assert recipe.scheme("layers.0.attn.q").bits == 8


def test_what_has_no_bits_to_choose_is_refused(tmp_path: Path, short_stories: Path) -> None:
    options = Options(target="onnx", quant="fp16", size=1 << 30)
    with pytest.raises(EdgeError, match="chooses bits"):
        convert(short_stories, tmp_path / "it", options)


@pytest.mark.parametrize("quant", ["lut4-g32-fp16", "nf4-g32-fp16"])
def test_tables_and_levels_have_what_fits(
    quant: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    options = Options(target="coreml", quant=quant, embed="fp16", head="fp16")
    plain = convert(short_stories, tmp_path / "plain", options)
    size = of_all(plain.folder)
    text = Calibration.of(world_text, 256)
    artifact = convert(short_stories, tmp_path / "it", replace(options, size=size, calibrate=text))
    assert of_all(artifact.folder) <= size


def test_what_a_target_does_not_hold_is_refused_before_a_text_is_read(
    tmp_path: Path, short_stories: Path
) -> None:
    options = Options(target="gguf", quant="gptq-int4-g64", size=1 << 30)
    with pytest.raises(Unsupported, match="gguf cannot hold"):
        convert(short_stories, tmp_path / "it", options)


def test_the_command_line(tmp_path: Path) -> None:
    small = run(
        "convert", "edge-stories", "--to", "onnx", "--size", "100kB", "-o", str(tmp_path / "it")
    )
    assert small.returncode == 2
    assert "is too small: with the fewest bits everywhere it takes" in small.stderr
    assert "--size" in small.stderr.splitlines()[-1]
    none = run(
        "convert", "edge-stories", "--to", "onnx", "--size", "small", "-o", str(tmp_path / "it")
    )
    assert none.returncode == 2
    assert "--size small: no size" in none.stderr
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2.0GB", 2 * 10**9),
        ("600 MB", 6 * 10**8),
        ("1.5GiB", 3 << 29),
        ("1000", 1000),
        ("3k", 3000),
    ],
)
def test_sizes_are_read(text: str, want: int) -> None:
    assert nbytes(text) == want


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "nan", "1.5.2MB", "2PB", "9" * 40])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        nbytes(text)
