"""Answers of a given form from a real, tiny model at temperature 1: valid each time."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Edge
from support import converted

import edge as toolkit
from edge.decode.generate import generate
from edge.decode.grammar import Grammar
from edge.decode.sampling import Sampling
from edge.errors import EdgeError
from edge.run.model import Model, Wish

jsonschema = pytest.importorskip("jsonschema")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}, "maxItems": 2},
    },
    "required": ["name", "age", "pets"],
    "additionalProperties": False,
}
CHOICE = {"oneOf": [{"const": None}, {"type": "boolean"}, {"enum": ["a", "é", '"']}]}
NESTED = {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/point"}} | {
    "$defs": {
        "point": {
            "type": "object",
            "properties": {"x": {"enum": [0, 1]}, "label": {"enum": ["left", "right"]}},
            "required": ["x", "label"],
            "additionalProperties": False,
        }
    }
}


@pytest.fixture(scope="module")
def folder(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("it") / "it", assets / "llm/stories-260k")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return toolkit.load(folder, threads=1)


def answer(model: Model, grammar: Grammar, seed: int, max_tokens: int = 120) -> str:
    sampling = Sampling(temperature=1.0, seed=seed)
    wish = Wish(max_tokens=max_tokens, sampling=sampling, grammar=grammar)
    made = model.generate("Lily said:", raw=True, wish=wish)
    text = "".join(made)
    assert made.generation.ending == "stop", text
    assert made.complete
    return text


@pytest.mark.parametrize("schema", [PERSON, CHOICE, NESTED], ids=["person", "choice", "nested"])
def test_200_of_200_samples_fit_the_schema(model: Model, schema: dict) -> None:
    grammar = Grammar.of_schema(json.dumps(schema))
    found = {answer(model, grammar, seed) for seed in range(200)}
    for text in found:
        jsonschema.validate(json.loads(text), schema)
    assert len(found) > 2  # it is the model that chooses, not only the grammar


@pytest.mark.parametrize("pattern", [r"[a-z]{3,8}", r"(yes|no), \d{1,3}\.", "Ünïcödé [0-9]+!"])
def test_a_regular_expression_is_matched(model: Model, pattern: str) -> None:
    grammar = Grammar.of_regex(pattern)
    for seed in range(50):
        assert re.fullmatch(pattern, answer(model, grammar, seed))


def test_a_lark_grammar_is_followed(model: Model) -> None:
    grammar = Grammar.of_lark('start: "the " ("cat" | "dog") (" and " ("cat" | "dog")){0,2} "."')
    for seed in range(50):
        assert re.fullmatch(r"the (cat|dog)( and (cat|dog)){0,2}\.", answer(model, grammar, seed))


def test_forced_text_is_not_asked_of_the_model(model: Model) -> None:
    """What can only be one text is read in one call; the logits are those of single steps."""
    grammar = Grammar.of_schema(json.dumps({"const": {"a long key": "and a long value"}}))
    calls = []
    stepped, read = model.decoder.step, model.decoder.prefill

    class Counting:
        spec, capacity = model.decoder.spec, model.decoder.capacity
        length = property(lambda _: model.decoder.length)

        def step(self, token: int) -> np.ndarray:
            calls.append(1)
            return stepped(token)

        def prefill(self, tokens: list[int]) -> np.ndarray:
            calls.append(len(tokens))
            return read(tokens)

    model.decoder.rewind(0)
    form = grammar.constraint(model.vocabulary)
    made = generate(
        Counting(), [1, 2, 3], max_tokens=100, stop_ids=model.tokenizer.stop_ids, constraint=form
    )
    text = model.tokenizer.decode(list(made))
    assert json.loads(text) == {"a long key": "and a long value"}
    assert len(calls) <= 2
    assert sum(calls) >= len(made.tokens)


def test_an_answer_that_is_cut_off_is_not_complete(model: Model) -> None:
    grammar = Grammar.of_schema(json.dumps(PERSON))
    made = model.generate("Lily", raw=True, wish=Wish(max_tokens=6, grammar=grammar))
    "".join(made)
    assert made.generation.ending == "length"
    assert len(made.generation.tokens) == 6
    assert made.complete is False


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Grammar.of_schema, "{"),
        (Grammar.of_schema, '{"type": "objct"}'),
        (Grammar.of_regex, "(ab"),
        (Grammar.of_lark, "start: nothing"),
    ],
)
def test_a_bad_form_is_an_error(make: type, text: str) -> None:
    with pytest.raises(EdgeError, match="is invalid"):
        make(text)


def test_on_the_command_line(folder: Path, edge: Edge, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(PERSON))
    result = edge("run", folder, "Lily", "--raw", "--json-schema", schema, "--json")
    assert result.code == 0, result.err
    jsonschema.validate(json.loads(result.json["text"]), PERSON)
    assert result.json["complete"] is True
    schema.write_text("{")
    # The schema is refused before the model is looked for.
    assert "JSON schema is invalid" in edge("run", "/nowhere", "Lily", "--json-schema", schema).err
