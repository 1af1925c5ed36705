"""Options that are listed once and that several commands have."""

import inspect
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from edge.command.cli import app
from edge.command.options import CompactingOptions, DecodingOptions, spread
from edge.decode.snapkv import SnapKV
from edge.errors import EdgeError
from edge.run.strategy import PLAIN, Strategy


def parsed(*given: str) -> dict[str, Any]:
    """What a command gets for these arguments."""
    got: dict[str, Any] = {}
    small = typer.Typer()

    @small.command()
    @spread
    def command(
        name: Annotated[str, typer.Argument()], *, decoding: DecodingOptions, loud: bool = False
    ) -> None:
        got.update(name=name, decoding=decoding, loud=loud)

    result = CliRunner().invoke(small, list(given), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got


def test_a_class_of_options_is_what_was_given() -> None:
    assert parsed("x") == {"name": "x", "decoding": DecodingOptions(), "loud": False}
    got = parsed("x", "--snapkv", "40", "--loud", "--kv", "int8", "--draft", "3", "--reference")
    want = DecodingOptions(snapkv=40, kv="int8", draft=3, reference=True)
    assert got == {"name": "x", "decoding": want, "loud": True}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("run", DecodingOptions), ("bench", DecodingOptions), ("serve", CompactingOptions)],
)
def test_commands_have_all_of_them(name: str, kind: type) -> None:
    command = next(
        one.callback
        for one in app.registered_commands
        if (one.name or getattr(one.callback, "__name__", "")) == name
    )
    assert command is not None
    assert set(inspect.signature(kind).parameters) <= set(inspect.signature(command).parameters)


def test_defaults_decode_plainly() -> None:
    assert DecodingOptions().strategy() == PLAIN
    assert CompactingOptions().compact() is None


def test_values_reach_the_strategy() -> None:
    given = DecodingOptions(
        snapkv=900, snapkv_sinks=2, snapkv_for="reuse", draft_by="lookup", draft=3
    )
    snapkv = SnapKV(capacity=900, sinks=2, purpose="reuse")
    assert given.strategy() == Strategy(snapkv=snapkv, drafting="lookup", draft=3)
    assert DecodingOptions(layerskip=2, reference=True).strategy() == Strategy(
        layerskip=2, reference=True
    )
    assert DecodingOptions(kv="int8").strategy() == Strategy(kv="int8")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"snapkv_sinks": 4}, "how many rows"),
        ({"snapkv_window": 5000}, "how many rows"),
        ({"snapkv": 99, "snapkv_pool": "best"}, "pools by 'best'"),
        ({"snapkv": 99, "snapkv_layers": "tower"}, "--snapkv-layers tower"),
        ({"snapkv": 99, "snapkv_for": "fun"}, "--snapkv-for fun"),
        ({"draft_by": "magic"}, "--draft-by magic"),
        ({"kv": "int2"}, "--kv int2"),
        ({"draft": 99}, "--draft 99"),
    ],
)
def test_what_nobody_knows_is_refused_by_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(EdgeError, match=words):
        DecodingOptions(**wrong).strategy()
