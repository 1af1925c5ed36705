"""`app.json`: all that an app must know to run an artifact without Jinja, without YAML, and without asking anybody."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import Damaged, Unsupported
from edge.files.config import Config
from edge.names import decoder_of
from edge.net import NetSpec
from edge.nn.rope import attention_factor, frequencies
from edge.pipelines.internvl import BEGIN, END, MARK, PLACE
from edge.spec import DecoderSpec, parts, sees_all
from edge.text.chat import ChatTemplate, Template
from edge.text.conversations import FormTemplate, form_of
from edge.text.tokenizer import Tokenizer
from edge.text.turns import Turns, turns_of

APP = "app.json"
SCHEMA = 1
TEXT = "text"  # the module that answers
_FEWEST = 512  # tokens of the shortest sequence whose memory is told
_CLOCK = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact as an app takes it: its networks by name, and what conversations are in it."""

    name: str
    modules: Mapping[str, Artifact]
    template: Template | None
    settings: Mapping[str, Any] | None  # of a pipeline: how its networks work together

    @classmethod
    def of(cls, artifact: Artifact | PipelineArtifact) -> "Source":
        if isinstance(artifact, Artifact):
            spec = artifact.manifest.spec
            if isinstance(spec, NetSpec):
                raise Unsupported(
                    f"{artifact.folder} answers nothing: it is a network of another kind",
                    fix="name a decoder of text, or a model of several networks",
                )
            template = ChatTemplate.load(artifact.folder)
            return cls(artifact.manifest.name, {TEXT: artifact}, template, None)
        if TEXT not in artifact.stages:
            raise Unsupported(
                f"{artifact.folder} answers nothing in words: apps take a decoder, or what has one",
                fix="name a decoder of text, or a model that answers about pictures",
            )
        settings = Config(artifact.manifest.settings, str(artifact.folder))
        if not settings.has("template"):
            raise Unsupported(
                f"{artifact.folder} is {artifact.manifest.family}, which apps do not run yet",
                fix="run it by edge run or edge serve",
            )
        form = form_of(settings.text("template"))
        system = settings.text("system") if settings.has("system") else None
        return cls(
            artifact.manifest.name,
            artifact.stages,
            FormTemplate(form, system),
            artifact.manifest.settings,
        )

    @property
    def text(self) -> Artifact:
        return self.modules[TEXT]


def described(source: Source, tokenizer: Tokenizer, turns: Turns | None) -> dict[str, Any]:
    """The content of app.json but for its files' hashes."""
    artifact = source.text
    spec = decoder_of(artifact.manifest.spec, source.name)
    return {
        "schema": SCHEMA,
        "name": source.name,
        "modules": {
            name: {"target": module.manifest.target, "recipe": module.manifest.recipe}
            for name, module in source.modules.items()
        },
        "decoder": {
            "vocab": spec.vocab,
            "context": spec.context,
            "layers": [
                {
                    "heads": layer.heads,
                    "kv_heads": layer.kv_heads,
                    "head_width": layer.head_width,
                    "scale": layer.scale,
                }
                for layer in spec.layers
            ],
            "rotary": _rotary(spec),
        },
        "pictures": None if source.settings is None else _pictures(source, tokenizer),
        "bos": tokenizer.bos_id if tokenizer.adds_bos else None,
        "stop": sorted(tokenizer.stop_ids | set(artifact.manifest.stop) | _ends(source, tokenizer)),
        "chat": None if turns is None else _chat(turns, source.template),
        "sampling": _sampling(artifact.folder),
        "memory": list(_memory(artifact)),
    }


def _ends(source: Source, tokenizer: Tokenizer) -> set[int]:
    """What ends a turn of a pipeline's conversation: some checkpoints do not say it."""
    if not isinstance(source.template, FormTemplate):
        return set()
    found = tokenizer.id_of(source.template.form.stop)
    return set() if found is None else {found}


def _pictures(source: Source, tokenizer: Tokenizer) -> dict[str, Any]:
    """How tiles are cut, how their bytes become numbers, and how the rows of a picture stand in a conversation."""
    tower = source.modules["vision"].manifest.vision
    if tower is None:
        raise Damaged("the artifact's tower sees no pictures", fix="convert again")
    _, rows, width = source.modules["projector"].manifest.network.config.outputs[0].shape
    seen = tower.preparation
    return {
        **(source.settings or {}),
        "rows": rows,
        "width": width,
        "scale": seen.scale,
        "mean": list(seen.mean),
        "std": list(seen.std),
        "mark": MARK,
        "begin": BEGIN,
        "place": {"text": PLACE, "id": tokenizer.id_of(PLACE)},
        "end": END,
    }


def _chat(turns: Turns, template: Template | None) -> dict[str, Any]:
    return {
        "start": turns.start,
        "roles": {role: asdict(around) for role, around in turns.roles.items()},
        "answer": turns.answer,
        "today": _today(turns, template),
    }


def _rotary(spec: DecoderSpec) -> dict[str, Any] | None:
    """Radians a position of each rotated pair, and what it is multiplied by: to rotate queries that vote on which rows
    stay. None where a cache is not cut: attention does not see every row, or rotates by the length of a sequence.
    """
    if not sees_all(spec) or len(parts(spec)) > 1:
        return None
    return {
        "frequencies": frequencies(spec.rope, spec.context).tolist(),
        "magnitude": attention_factor(spec.rope, spec.context),
    }


def _today(turns: Turns, template: Template | None) -> dict[str, str] | None:
    """The date that a template puts where a conversation begins: how it stands in `start` and in the prefix of a
    system message, for an app to replace, and in which format (as of strftime).
    """
    formats = _CLOCK.findall(template.source) if isinstance(template, ChatTemplate) else []
    for _, form in formats:
        said = datetime.now().strftime(form)
        if said in turns.start:
            return {"said": said, "format": form}
    return None


def _sampling(folder: Path) -> dict[str, Any]:
    """What the model's publisher advises; the likeliest token always where that is all."""
    file = folder / "generation_config.json"
    config = Config.load(file) if file.is_file() else Config({}, str(file))
    samples = config.flag("do_sample", False)
    numbers = {
        name: config.number(name) if config.has(name) else None
        for name in ("temperature", "top_p", "min_p", "repetition_penalty")
    }
    top_k = config.integer("top_k", low=0) if config.has("top_k") else None
    return {
        "temperature": (1.0 if numbers["temperature"] is None else numbers["temperature"])
        if samples
        else 0.0,
        "top_k": (top_k or None) if samples else None,
        "top_p": numbers["top_p"] if samples else None,
        "min_p": numbers["min_p"] if samples else None,
        "repetition_penalty": numbers["repetition_penalty"] or 1.0,
    }


def _memory(artifact: Artifact) -> Iterator[dict[str, int]]:
    """Peak bytes of a run by the longest sequence, doubled up to the context; between them they grow evenly."""
    runtime, recipe = targets.runtime(artifact.manifest.target), recipe_of(artifact.manifest)
    spec = artifact.manifest.decoder
    tokens = min(_FEWEST, spec.context)
    while True:
        yield {"tokens": tokens, "bytes": runtime.memory(spec, recipe, tokens=tokens)}
        if tokens == spec.context:
            return
        tokens = min(2 * tokens, spec.context)


def conversations(source: Source) -> Turns | None:
    """How conversations are written, if the model has any; refuses a template that an app could not follow."""
    return None if source.template is None else turns_of(source.template)
