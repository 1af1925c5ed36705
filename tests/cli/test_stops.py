"""An artifact ends an answer where its checkpoint does, whichever file says so."""

import json
import shutil
from pathlib import Path

import pytest
from support import converted

from edge.run.model import Wish, load
from edge.text.tokenizer import Tokenizer

STORIES = "llm/stories-260k"


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_stop_ids_survive_conversion(assets: Path, tmp_path: Path, file: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(assets / STORIES, source, copy_function=shutil.copyfile)
    source.chmod(0o755)
    (source / "generation_config.json").unlink()
    fields = json.loads((source / file).read_text()) if (source / file).is_file() else {}
    (source / file).write_text(json.dumps({**fields, "eos_token_id": [1, 409]}))
    assert Tokenizer.load(source).stop_ids == {1, 409}
    assert load(converted(tmp_path / "out", source)).tokenizer.stop_ids == {1, 409}


def test_a_stop_id_of_the_config_ends_the_answer(assets: Path, tmp_path: Path) -> None:
    artifact = converted(tmp_path / "plain", assets / STORIES)
    answer = load(artifact).generate("Once upon a time", raw=True, wish=Wish(max_tokens=9))
    "".join(answer)
    stop = answer.generation.tokens[5]
    source = tmp_path / "source"
    shutil.copytree(assets / STORIES, source, copy_function=shutil.copyfile)
    source.chmod(0o755)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "eos_token_id": [1, stop]}))
    shorter = load(converted(tmp_path / "out", source)).generate("Once upon a time", raw=True)
    "".join(shorter)
    whole = answer.generation.tokens
    assert shorter.generation.tokens == whole[: whole.index(stop)]
    assert shorter.generation.ending == "stop"
