"""Whatever reads what a stranger wrote: valid seeds, and one call that must give a result or EdgeError.

To add a reader, add a function and a line in READERS.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import adapters, data, networks, sounds, torches, vision
from support import ROOT, config_of, converted, dividing, safetensors, tiny, weights_of

from edge.source import registry

Read = Callable[[Path, bytes], None]  # a folder to work in, and the hostile content


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One reader: how its input is mutated, from which seeds, and with which words."""

    kind: str
    seeds: Callable[[], Sequence[bytes]]
    read: Read
    words: tuple[bytes, ...] = ()
    share: int = 1  # of the time: more where each input takes a process


def _packaged() -> Path:
    return registry.entries()[registry.DEFAULT].checkpoint()


@cache
def _artifact() -> Path:
    """A tiny artifact with a real tokenizer, made once a process."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    source = tiny(folder / "source", vocab_size=_vocab())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (_packaged() / name).is_file():
            shutil.copyfile(_packaged() / name, source / name)
    (source / "chat_template.jinja").write_text(_TEMPLATE)
    return converted(folder / "it", source, "int4")


@cache
def _vocab() -> int:
    from edge.text.tokenizer import Tokenizer

    return Tokenizer.load(_packaged()).vocab_size


def _file(name: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [(_packaged() / name).read_bytes()]


# safetensors, config.json, index, and what a whole checkpoint makes of them


def _weights() -> Sequence[bytes]:
    rng = np.random.default_rng(0)
    few = {
        "a": rng.normal(size=(3, 4)).astype(np.float32),
        "b": rng.normal(size=5).astype(np.float16),
        "c": np.zeros((2, 2), np.uint16),
        "d": np.zeros((0, 4), np.float64),
    }
    return [safetensors(few), safetensors(weights_of(config_of("llama", vocab_size=8)))]


def _read_weights(folder: Path, content: bytes) -> None:
    from edge.files.safetensors import SafetensorsFile

    (folder / "model.safetensors").write_bytes(content)
    with SafetensorsFile(folder / "model.safetensors") as file:
        for name, entry in file.entries.items():
            if entry.shape and entry.dtype in ("F32", "F16", "BF16", "F64"):
                file.rows(name, 0, min(4, entry.shape[0]))


def _configs() -> Sequence[bytes]:
    from support import CONFIGS
    from towers import TOWERS

    llama3 = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    more = [config_of("llama", rope_scaling={**llama3, "original_max_position_embeddings": 32})]
    factors = [1.0] * 8
    long = {"type": "longrope", "short_factor": factors, "long_factor": factors}
    more.append(config_of("phi3", rope_scaling=long, original_max_position_embeddings=32))
    more += [dict(tower.tiny) for tower in TOWERS.values()]
    return [json.dumps(config).encode() for config in (*map(dict, CONFIGS.values()), *more)]


def _read_config(folder: Path, content: bytes) -> None:
    """As far as a plan for each target: shapes, sizes and memory."""
    from edge.families import family_of
    from edge.files.config import Config
    from edge.names import shapes
    from edge.net import NetSpec

    (folder / "config.json").write_bytes(content)
    config = Config.load(folder / "config.json")
    spec = family_of(config).spec(config)
    if isinstance(spec, NetSpec) or len(spec.layers) < 2000:
        shapes(spec)


def _read_index(folder: Path, content: bytes) -> None:
    from edge.source.headers import weight_files

    (folder / "model-1.safetensors").touch()
    (folder / "model-2.safetensors").touch()
    (folder / "model.safetensors.index.json").write_bytes(content)
    weight_files(folder)


# artifacts


def _manifests() -> Sequence[bytes]:
    return [(_artifact() / "edge.json").read_bytes()]


def _read_manifest(folder: Path, content: bytes) -> None:
    from edge.artifact.manifest import Artifact
    from edge.measure.inspection import inspect

    for file in _artifact().iterdir():
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
    (folder / "edge.json").write_bytes(content)
    inspect(folder)
    Artifact.open(folder).check_hashes()


def _graphs() -> Sequence[bytes]:
    return [(_artifact() / name).read_bytes() for name in ("model.onnx", "exact.onnx")]


def _read_graph(folder: Path, content: bytes) -> None:
    from edge_runtimes.onnx.external import check

    if not (folder / "model.onnx.data").exists():
        shutil.copyfile(_artifact() / "model.onnx.data", folder / "model.onnx.data")
    (folder / "model.onnx").write_bytes(content)
    check(folder / "model.onnx")


# text

_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_SAID = "Once upon a time, Zoé's 12 cats ran  off!\n" + "a" * 40


def definitions() -> Sequence[bytes]:
    """The packaged one, and one of each kind that is in use, made small."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    vocab = {chr(97 + i): i for i in range(26)} | {"\u2581": 26, "ab": 27, "<unk>": 28}
    vocab |= {f"<0x{i:02X}>": 29 + i for i in range(256)}
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    steps = [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]
    bpe = {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "unk_token": "<unk>"}
    spm = {
        "version": "1.0",
        "added_tokens": [{"id": 28, "content": "<unk>", "special": True, **flags}],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, blank],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": {**bpe, "byte_fallback": True, "fuse_unk": True},
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": r"\s+(?!\S)|\p{L}+|\p{N}{1,3}"},
        "behavior": "Isolated",
        "invert": False,
    }
    byte = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    gpt = {
        **spm,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte]},
        "decoder": byte,
        "post_processor": byte,
    }
    scores = [[piece, -float(i)] for i, piece in enumerate(vocab)]
    unigram = {
        **spm,
        "model": {"type": "Unigram", "unk_id": 28, "vocab": scores, "byte_fallback": True},
    }
    made = [json.dumps(one).encode() for one in (spm, gpt, unigram)]
    return [*made, *made, (_packaged() / "tokenizer.json").read_bytes()]


def _read_tokenizer(folder: Path, content: bytes) -> None:
    from edge.text.tokenizer import Tokenizer

    (folder / "tokenizer.json").write_bytes(content)
    tokenizer = Tokenizer.load(folder)
    tokenizer.check(1 << 20)
    ids = tokenizer.encode(_SAID, special=True)
    tokenizer.decode(ids)
    stream = tokenizer.stream()
    for token in ids:
        stream.feed(token)
    stream.finish()


def _settings() -> Sequence[bytes]:
    token = {"content": "<|end|>", "lstrip": False, "rstrip": True, "special": True}
    rich = {
        "added_tokens_decoder": {"285": token, "286": {**token, "content": "<|user|>"}},
        "bos_token": {"content": "<unk>"},
        "eos_token": "<|end|>",
        "add_bos_token": True,
        "chat_template": [
            {"name": "default", "template": _TEMPLATE},
            {"name": "tool", "template": "x"},
        ],
    }
    return [json.dumps(rich).encode()]


def _read_settings(folder: Path, content: bytes) -> None:
    from edge.text.chat import ChatTemplate

    (folder / "tokenizer_config.json").write_bytes(content)
    ChatTemplate.load(folder)
    _read_tokenizer(folder, definitions()[0])


def _templates() -> Sequence[bytes]:
    return [_TEMPLATE.encode(), *(text.encode() for text in GADGETS)]


GADGETS = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ (messages|attr('__class__')).__base__ }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{% set ns = namespace(x=1) %}{{ ns.__init__.__globals__ }}{{ cycler.__init__.__globals__ }}",
    "{% macro f(n) %}{{ f(n) if n else '' }}{% endmacro %}{{ f(3) }}{{ range(9)|list|tojson(indent=2) }}",
    "{% for a, b in messages[0]|dictsort %}{{ loop.__class__ }}{{ a|map('upper')|join }}{% endfor %}",
)


def _read_template(folder: Path, content: bytes) -> None:
    from edge.text import chat

    (folder / "chat_template.jinja").write_bytes(content)
    template = chat.ChatTemplate.load(folder)
    assert template is not None
    text = template.render(
        [chat.Message("system", "be"), chat.Message("user", "hi")], generate=True
    )
    for secret in ("<class", "<function", "subclasses", "__globals__", "builtin"):
        assert secret not in text or secret.encode() in content, f"it shows {secret}: {text[:300]}"


def pieces() -> Sequence[bytes]:
    import io

    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["once upon a time there was a cat"] * 9),
        model_writer=made, vocab_size=290, model_type="bpe", byte_fallback=True, minloglevel=2,
        normalization_rule_name="identity", hard_vocab_limit=False,
    )  # fmt: skip
    return [made.getvalue()]


def _read_pieces(folder: Path, content: bytes) -> None:
    from edge.text.tokenizer import Tokenizer

    (folder / "tokenizer.model").write_bytes(content)
    Tokenizer.load(folder).encode(_SAID, special=True)


def _ranks() -> Sequence[bytes]:
    import base64

    tokens = [*(bytes([i]) for i in range(256)), b"ab", b"abc", b" the", "é".encode()]
    lines = (f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens))
    return ["\n".join(lines).encode()]


def _read_ranks(folder: Path, content: bytes) -> None:
    from edge.text.tokenizer import Tokenizer

    (folder / "cl100k_base.tiktoken").write_bytes(content)
    Tokenizer.load(folder).encode(_SAID, special=True)


# requests


def _recipes() -> Sequence[bytes]:
    return [b"fp32", b"fp16", b"int8", b"int4", b"rtn-int4-g64", b"rtn-int8-g128"]


def _read_recipe(_: Path, content: bytes) -> None:
    from edge.quant import recipe

    text = content.decode(errors="replace")
    str(recipe.parse(text))
    str(recipe.parse("int4", embed=text, head=text))


def _read_train(folder: Path, content: bytes) -> None:
    from edge.train import reading
    from edge.train.lessons import LessonsRecipe
    from edge.train.recipe import TrainingRecipe
    from edge.train.regions.detection import DetectionRecipe
    from edge.train.regions.dialogues import DialoguesRecipe
    from edge.train.regions.small_groma import small_detector, small_groma
    from edge.train.small_internvl import small_internvl

    (folder / "recipe.yaml").write_bytes(content)
    made = reading.read(folder / "recipe.yaml")
    if isinstance(made, LessonsRecipe):
        small_internvl(made)
    elif isinstance(made, DetectionRecipe):
        small_detector(made)
    elif isinstance(made, DialoguesRecipe):
        small_groma(made)
    elif isinstance(made, TrainingRecipe) and made.shape is not None:
        made.shape.spec(512)


_SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "s": {"type": "string", "pattern": "^[a-z]{1,9}$"},
    },
    "required": ["n"],
    "$defs": {"x": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/x"}]}},
}


def _grammars() -> Sequence[bytes]:
    """The first byte says which kind."""
    schemas = [_SCHEMA, {"type": "array", "items": {"enum": ["a", 1, None]}, "maxItems": 9}, True]
    return [
        *(b"s" + json.dumps(schema).encode() for schema in schemas),
        b"r(a|b)*[0-9]{2,5}\\.(x|yz)+",
        b"r(?i:yes|no)",
        b'gstart: "a" b*\nb: /[0-9]+/ | "(" start ")"\n%ignore / /\n',
    ]


@cache
def _vocabulary() -> Any:
    from edge.decode.grammar import Vocabulary
    from edge.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(_packaged())
    return Vocabulary.of(tokenizer, tokenizer.stop_ids)


def _read_grammar(_: Path, content: bytes) -> None:
    from edge.decode.grammar import Grammar

    make = {b"s": Grammar.of_schema, b"r": Grammar.of_regex}.get(content[:1], Grammar.of_lark)
    form = make(content[1:].decode(errors="replace")).constraint(_vocabulary())
    logits = np.zeros(_vocabulary().size, np.float32)
    for _ in range(6):
        form.forced()
        if form.ended:
            return
        form.accept(int(form.mask(logits).argmax()))


def _pins() -> Sequence[bytes]:
    pin = {"source": "some/model", "revision": "a" * 40, "files": {"config.json": "0" * 64}}
    return [json.dumps({"some--model": pin, "other": pin}).encode()]


def _read_pins(folder: Path, content: bytes) -> None:
    from edge.source.pull import pin_of, read_pins

    os.environ["EDGE_HOME"] = str(folder / "home")
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "models.lock").write_bytes(content)
    for name, pin in read_pins().items():
        assert isinstance(pin.source, str)
        assert all(isinstance(k + v, str) for k, v in pin.files.items())
        with contextlib.suppress(ValueError):  # a name with a NUL is no folder's
            pin_of(folder / "home" / "checkpoints" / name)


def _asks() -> Sequence[bytes]:
    chat = {
        "model": "it", "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}],
        "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["x"], "stream": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": _SCHEMA}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    asks = [
        chat,
        {**chat, "response_format": form},
        {**chat, "messages": parts, "stream": True, "stream_options": {"include_usage": True}},
        {"model": "it", "prompt": "Once", "max_tokens": 2},
        {**chat, "modalities": ["text", "audio"], "audio": {"format": "wav", "voice": "alloy"}},
    ]
    return [json.dumps(ask).encode() for ask in asks]


@cache
def _client() -> Any:
    from fastapi.testclient import TestClient
    from parrot import Parrot

    from edge.run.model import load
    from edge.serve.app import create
    from edge.serve.guard import Limits
    from edge.serve.recordings import Recordings
    from edge.serve.texts import Texts
    from edge.serve.voices import Voices

    speaker = Parrot()
    voices = Voices("it", speaker, Recordings.of(speaker, {}))
    texts = Texts(load(_artifact(), threads=1), voices)
    app = create(texts, voices, hosts=(), key=None, limits=Limits(tokens=2, seconds=9))
    return TestClient(app, base_url="http://127.0.0.1")


def _read_ask(_: Path, content: bytes) -> None:
    """Both routes; an exception inside the server comes out of the client."""
    for path in ("/v1/chat/completions", "/v1/completions"):
        _answered(path, content)


def _answered(path: str, content: bytes) -> None:
    found = _client().post(path, content=content, headers={"Content-Type": "application/json"})
    assert found.status_code in (200, 400, 413), found.text


def _speech_asks() -> Sequence[bytes]:
    """Texts to be spoken, by a name and by a recording in the request, and a chat that is heard."""
    import base64

    recording = base64.b64encode(sounds.files()[0][:400]).decode()
    ask = {"model": "it", "input": "Good morning.", "voice": "alloy", "response_format": "wav"}
    asks = [
        {**ask, "speed": 1.5, "seed": 3, "steps": 1, "alpha": 0.5, "stream": False},
        {**ask, "stream_format": "sse", "response_format": "pcm", "instructions": ""},
        {**ask, "voice": {"audio": f"data:audio/wav;base64,{recording}"}},
        {**ask, "input": "<speak>a<break time='1s'/></speak>", "voice": {"id": "default"}},
    ]
    return [json.dumps(ask).encode() for ask in asks]


def _read_speech_ask(_: Path, content: bytes) -> None:
    _answered("/v1/audio/speech", content)


def _ggufs() -> Sequence[bytes]:
    import gguf_files as made

    keys = [
        made.key("general.architecture", made.STRING, "llama"),
        made.key("general.alignment", made.U32, 32),
        made.array("tokenizer.ggml.tokens", made.STRING, ["a", "b", "\u2581c"]),
        made.array("tokenizer.ggml.scores", made.F32, [0.5, 1.5, -1.0]),
    ]
    tensors = [made.tensor("a", (2, 32)), made.tensor("b", (2, 32), kind=8, offset=256)]
    return [made.File(keys=keys, tensors=tensors, data=bytes(512)).bytes()]


def _gguf_texts() -> Sequence[bytes]:
    """A small vocabulary of either kind."""
    import gguf_files as made

    def at(key: str) -> str:
        return f"tokenizer.ggml.{key}"

    by_bytes = [f"<0x{i:02X}>" for i in range(256)]
    scored = [
        made.key(at("model"), made.STRING, "llama"),
        made.array(at("tokens"), made.STRING, ["<unk>", "<s>", "</s>", *by_bytes, "a", "b", "ab"]),
        made.array(at("token_type"), made.I32, [2, 3, 3, *[6] * 256, 1, 1, 4]),
        made.array(at("scores"), made.F32, [0.0] * 259 + [-1.0, -2.0, -3.0]),
        made.key("tokenizer.chat_template", made.STRING, "{{ bos_token }}"),
    ]
    merged = [
        made.key(at("model"), made.STRING, "gpt2"),
        made.key(at("pre"), made.STRING, "llama-bpe"),
        made.array(at("tokens"), made.STRING, ["a", "b", "ab", "<|begin|>"]),
        made.array(at("token_type"), made.I32, [1, 1, 1, 3]),
        made.array(at("merges"), made.STRING, ["a b"]),
        made.key(at("bos_token_id"), made.U32, 3),
    ]
    return [made.File(keys=keys).bytes() for keys in (scored, merged)]


def _read_gguf_text(folder: Path, content: bytes) -> None:
    from edge.gguf.reader import GGUFFile
    from edge.gguf.text import read_text

    (folder / "model.gguf").write_bytes(content)
    with GGUFFile(folder / "model.gguf") as file:
        tokenizer, _ = read_text(file)
    tokenizer.decode(tokenizer.encode("ab <s> a", special=True))


def _importances() -> Sequence[bytes]:
    values = np.arange(8, dtype=np.float32)
    return [safetensors({"layers.0.attn.q": values, "layers.0.mlp.down": values[:4]})]


def _read_importance(folder: Path, content: bytes) -> None:
    from edge.artifact.vectors import IMPORTANCE, read

    (folder / IMPORTANCE).write_bytes(content)
    read(folder / IMPORTANCE)


def _read_gguf(folder: Path, content: bytes) -> None:
    from edge.gguf.reader import GGUFFile

    (folder / "model.gguf").write_bytes(content)
    with GGUFFile(folder / "model.gguf") as file:
        for key in file:
            file[key]
        for name, tensor in file.tensors.items():
            file.rows(name, 0, min(2, tensor.rows))


def _gguf_parts() -> Sequence[bytes]:
    import gguf_files as made

    return [made.File(keys=_part(1), tensors=[made.tensor("b", (2, 8))], data=bytes(64)).bytes()]


def _part(number: int) -> list[bytes]:
    """What one of two files says."""
    import gguf_files as made

    numbers = [made.key("split.no", made.U16, number), made.key("split.count", made.U16, 2)]
    return [*numbers, made.key("split.tensors.count", made.I32, 2)]


def _read_gguf_part(folder: Path, content: bytes) -> None:
    """As the second file of a model."""
    import gguf_files as made

    from edge.gguf.shards import GGUFModel

    keys = [made.key("general.architecture", made.STRING, "llama"), *_part(0)]
    first = made.File(keys=keys, tensors=[made.tensor("a", (2, 8))], data=bytes(64)).bytes()
    (folder / "m-00001-of-00002.gguf").write_bytes(first)
    (folder / "m-00002-of-00002.gguf").write_bytes(content)
    with GGUFModel(folder / "m-00001-of-00002.gguf") as model:
        for name, tensor in model.tensors.items():
            model.rows(name, 0, min(2, tensor.rows))


# whole artifacts, from the file on disk to logits: what a runtime's own library is given


@cache
def _made(target: str) -> Path:
    """A tiny artifact of a target, made once a process."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    source = tiny(folder / "source", **dividing("llama"))
    return converted(folder / "it", source, "fp16" if target == "coreml" else "int4", target=target)


def _run(target: str, name: str) -> tuple[Callable[[], Sequence[bytes]], Read]:
    """Seeds of one file of an artifact, and a reader that loads the artifact with it and decodes."""

    @cache
    def seeds() -> Sequence[bytes]:
        return [(_made(target) / name).read_bytes()]

    def read(folder: Path, content: bytes) -> None:
        from edge.artifact.manifest import Artifact
        from edge.run.opening import open_decoder, open_reference

        place = folder / target
        if not place.exists():
            shutil.copytree(_made(target), place)
        (place / name).write_bytes(content)
        try:
            artifact = Artifact.open(place)
            if target == "coreml":  # which runs in numpy here
                decoder = open_reference(artifact, exact=False)
            else:
                decoder = open_decoder(artifact, threads=None, exact=False)
            decoder.prefill([1, 2, 3])
            decoder.step(4)
        finally:
            (place / name).write_bytes(seeds()[0])

    return seeds, read


def _runners() -> dict[str, Reader]:
    """For each target whose packages are here."""
    package = "Data/com.apple.CoreML"
    files = (
        ("onnx", "onnxruntime", "model.onnx", "protobuf"),
        ("gguf", "llama_cpp", "model.gguf", "bytes"),
        ("mlx", "mlx", "model.safetensors", "safetensors"),
        ("mlx", "mlx", "config.json", "json"),
        ("coreml", "coremltools", "model.mlpackage/Manifest.json", "json"),
        ("coreml", "coremltools", f"model.mlpackage/{package}/model.mlmodel", "protobuf"),
        ("coreml", "coremltools", f"model.mlpackage/{package}/weights/weight.bin", "bytes"),
    )
    out = {}
    for target, library, name, kind in files:
        if find_spec(library) is not None:
            seeds, read = _run(target, name)
            out[f"{target} {Path(name).name}"] = Reader(kind=kind, seeds=seeds, read=read)
    return out


JSON_WORDS = (
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\ud800",
    b'"a":',
    b"[" * 2000,
)
JINJA = (
    b"{{", b"}}", b"{%", b"%}", b"__class__", b"|attr('__globals__')", b"namespace(", b"cycler", b"range(10**9)",
    b"'a'*10**9", b".format(messages)", b"|tojson", b"{% macro f() %}{{ f() }}{% endmacro %}", b"import", b"self",
    b"{% for i in range(99999) %}", b"{% endfor %}", b"strftime_now('%999999999d')", b"|map(attribute='__class__')",
)  # fmt: skip
REGEX = (
    b"(a+)+",
    b"{9999}",
    b"[^",
    b"\\p{L}",
    b"(?=a)",
    b"\\1",
    b"|",
    b"*",
    b"(?:",
    b"\\",
    b"$ref",
    b"#/$defs/x",
)
READERS: dict[str, Reader] = {
    "safetensors": Reader(kind="safetensors", seeds=_weights, read=_read_weights, words=JSON_WORDS),
    "config": Reader(kind="json", seeds=_configs, read=_read_config, words=JSON_WORDS),
    "index": Reader(
        kind="json",
        seeds=lambda: [b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'],
        read=_read_index,
        words=JSON_WORDS,
    ),
    "edge.json": Reader(kind="json", seeds=_manifests, read=_read_manifest, words=JSON_WORDS),
    "graph": Reader(
        kind="protobuf", seeds=_graphs, read=_read_graph, words=(b"location", b"../x", b"offset")
    ),
    "tokenizer.json": Reader(kind="json", seeds=definitions, read=_read_tokenizer, words=REGEX),
    "tokenizer_config": Reader(kind="json", seeds=_settings, read=_read_settings, words=JSON_WORDS),
    "template": Reader(kind="text", seeds=_templates, read=_read_template, words=JINJA, share=6),
    "tokenizer.model": Reader(kind="protobuf", seeds=pieces, read=_read_pieces),
    "tiktoken": Reader(
        kind="text", seeds=_ranks, read=_read_ranks, words=(b"==", b"\n", b" ", b"YQ== 0\n")
    ),
    "wordnet": Reader(
        kind="text",
        seeds=vision.wordnets,
        read=vision.read_wordnet,
        words=(b" @ ", b"\n", b" n ", b"99999999"),
    ),
    "recipe": Reader(
        kind="text", seeds=_recipes, read=_read_recipe, words=(b"-g", b"int", b"9" * 5000)
    ),
    "train": Reader(
        kind="text",
        seeds=lambda: [
            file.read_bytes() for file in sorted((ROOT / "edge/train/recipes").glob("*.yaml"))
        ],
        read=_read_train,
        words=(
            b"&a",
            b"*a",
            b"<<: *a",
            b"!!python/object:os.system",
            b"[" * 500,
            b"9" * 5000,
            b"2020-99-99",
        ),
    ),
    "grammar": Reader(kind="text", seeds=_grammars, read=_read_grammar, words=REGEX, share=6),
    "models.lock": Reader(kind="json", seeds=_pins, read=_read_pins, words=JSON_WORDS),
    "request": Reader(kind="json", seeds=_asks, read=_read_ask, words=JSON_WORDS),
    "speech request": Reader(
        kind="json", seeds=_speech_asks, read=_read_speech_ask, words=JSON_WORDS
    ),
    "gguf": Reader(kind="bytes", seeds=_ggufs, read=_read_gguf),
    "torch": Reader(kind="bytes", seeds=torches.files, read=torches.read_file, words=torches.WORDS),
    "pickle": Reader(
        kind="bytes", seeds=torches.pickles, read=torches.read_pickle, words=torches.WORDS
    ),
    "speech": Reader(
        kind="text", seeds=sounds.texts, read=sounds.read_text, words=sounds.TEXT_WORDS, share=3
    ),
    "sound": Reader(kind="bytes", seeds=sounds.files, read=sounds.read_file, words=sounds.WORDS),
    "picture": Reader(kind="bytes", seeds=vision.pictures, read=vision.read_picture),
    "boxes": Reader(kind="json", seeds=vision.boxes, read=vision.read_boxes, words=JSON_WORDS),
    "boxes by line": Reader(
        kind="text", seeds=vision.lines, read=vision.read_lines, words=(*JSON_WORDS, b"<r1>", b"\n")
    ),
    "gguf part": Reader(kind="bytes", seeds=_gguf_parts, read=_read_gguf_part),
    "gguf text": Reader(kind="bytes", seeds=_gguf_texts, read=_read_gguf_text),
    "importance": Reader(
        kind="safetensors", seeds=_importances, read=_read_importance, words=JSON_WORDS
    ),
    "preparation": Reader(
        kind="json",
        seeds=networks.preparations,
        read=networks.read_preparation,
        words=JSON_WORDS,
    ),
    "labels": Reader(
        kind="json", seeds=networks.labels, read=networks.read_labels, words=JSON_WORDS
    ),
    **{
        name: Reader(kind=kind, seeds=seeds, read=read, words=data.WORDS)
        for name, (kind, seeds, read) in data.readers().items()
    },
    **{
        f"adapter {part} {layout}": Reader(kind=kind, seeds=seeds, read=read, words=words)
        for layout in ("peft", "mlx")
        for part, kind, seeds, read, words in (
            (
                "config",
                "json",
                adapters.configs(layout),
                adapters.read_config(layout),
                (*JSON_WORDS, *REGEX),
            ),
            (
                "tensors",
                "safetensors",
                adapters.tensors(layout),
                adapters.read_tensors(layout),
                JSON_WORDS,
            ),
        )
    },
    **_runners(),
    **{
        name: Reader(kind=kind, seeds=seeds, read=read, words=JSON_WORDS if kind == "json" else ())
        for name, (kind, seeds, read) in networks.runners().items()
    },
}
