"""Tiny InternVLs of random weights under the published names, and what they compute by code that is not ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from support import config_of, weights_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from towers import TOWERS

SIDE = 16  # pixels of a tile: four patches of a side, four rows of a tile
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")  # of Phi-3
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", *ROLES, "<img>", "</img>", "<IMG_CONTEXT>")
MESSAGE = "A helper."
CONVERSATION = f"""
raise SystemExit('this is never run')
register(Conversation(name='other', system_message='No.'))
register(Conversation(name='internlm2-chat', system_template='x', system_message='{MESSAGE}', roles=('a', 'b')))
"""
Rows = Callable[[np.ndarray], np.ndarray]  # tiles [N, side, side, 3] -> rows [N, R, D]


def tokenizer(folder: Path) -> int:
    """Bytes, and the special tokens; how many ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.save(str(folder / "tokenizer.json"))
    fields = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))
    return int(made.get_vocab_size(with_added_tokens=True))


def write(folder: Path, *, text: str = "internlm2", **changes: Any) -> Rows:
    """A checkpoint; what its tower and projector make of tiles, in torch."""
    folder.mkdir(parents=True)
    vocab = tokenizer(folder)
    tower = {**TOWERS["intern_vit"].tiny, "image_size": SIDE}
    state, reference = TOWERS["intern_vit"].made(tower)
    llm = config_of(text, vocab_size=vocab, max_position_embeddings=512, hidden_size=64)
    fields = {
        "model_type": "internvl_chat",
        "vision_config": tower,
        "llm_config": llm,
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": SIDE,
        "max_dynamic_patch": 12,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internlm2-chat",
        "use_thumbnail": True,
        **changes,
    }
    projector = {
        "side": SIDE // tower["patch_size"],
        "channels": tower["hidden_size"],
        "hidden_size": 64,
        "ps_version": fields["ps_version"],
    }
    mlp, project = TOWERS["internvl_projector"].made(projector)
    tensors = {f"vision_model.{name}": value for name, value in state.items()}
    tensors |= {f"mlp1.{name}": value for name, value in mlp.items()}
    tensors |= {f"language_model.{name}": value for name, value in weights_of(llm).items()}
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "conversation.py").write_text(CONVERSATION)

    return lambda tiles: project(reference(tiles))
