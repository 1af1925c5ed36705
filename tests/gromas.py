"""Tiny Gromas of random weights under the published names, in torch's shards as published, and what they compute by
code that is not ours.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slow_regions as slow
from safetensors.numpy import save_file
from support import config_of, weights_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from towers import TOWERS, Reference

from edge.text.pointing import TOKENS

SIDE, WIDTH = 16, 64  # pixels of a picture: four patches of a side; numbers of a row
REGION = {"bins": 4, "inner_size": 64, "place_size": 32, "rounds": 2, "groups": 16}
TOWER = {key: v for key, v in TOWERS["groma_vision"].tiny.items() if key != "image_size"}
QUERIES = {"num_queries": 12, "two_stage_num_proposals": 12}
DETR = {**TOWERS["groma_proposer"].tiny, **QUERIES}
PERCEIVER = {
    "model_type": "ddetr",
    "image_size": SIDE,
    "vis_encoder_cfg": {**TOWER, "model_type": "dinov2"},
    "ddetr_cfg": {k: v for k, v in DETR.items() if k not in ("model_type", "side", "channels")},
    "vis_output_layer": -1,
    "zs_weight_path": None,
}
CONFIG = {
    "model_type": "groma",
    "perceiver_cfg": PERCEIVER,
    "region_cfg": REGION,
    "num_new_token": len(TOKENS),
    "nms_thres": 0.6,
    "box_score_thres": 0.15,
    "max_region_num": 100,
}


def tokenizer(folder: Path) -> int:
    """Bytes and Llama's three, and then Groma's own; how many ids there are before these."""
    alphabet = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in ("<s>", "</s>")])
    made.add_special_tokens([AddedToken(token, special=True) for token in TOKENS])
    made.save(str(folder / "tokenizer.json"))
    fields = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))
    return len(alphabet)


@dataclass(frozen=True)
class Oracle:
    """`state`: every tensor, by its published name."""

    state: Mapping[str, np.ndarray]
    llm: Mapping[str, Any]
    tower: Reference
    detector: Reference

    def see(self, pixels: np.ndarray) -> dict[str, Any]:
        """[S, S, 3] as the tower takes them -> the picture's rows, maps, scores and boxes."""
        seen: Any = self.tower(pixels[None])
        found: Any = self.detector(seen["mean"])
        layers = [seen[name] for name in ("earlier_2", "earlier_1", "features")]
        maps = slow.maps(
            self._below("region_encoder.mlvl_fuse."), layers, REGION["rounds"], REGION["groups"]
        )
        return {
            "rows": self._bridged(seen["features"]),
            "maps": [x[0].permute(1, 2, 0).float().numpy() for x in maps],
            "scores": found["scores"][0],
            "boxes": found["boxes"][0],
        }

    def rows(self, maps: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """A row for each of the boxes [K, 4]."""
        state = self._below("region_encoder.roi_align.")
        found = slow.encoded(state, maps, boxes, bins=REGION["bins"], pixels=14 * len(maps[-1]))
        return np.asarray(found.float())

    def _below(self, prefix: str) -> dict[str, Any]:
        import torch

        return {
            name.removeprefix(prefix): torch.tensor(value).double()
            for name, value in self.state.items()
            if name.startswith(prefix)
        }

    def _bridged(self, features: np.ndarray) -> np.ndarray:
        """Of four patches the left two come first, each column downwards."""
        import torch

        side = round(features.shape[1] ** 0.5)
        x = torch.tensor(features).double().reshape(side, side, -1)
        four = [x[down::2, across::2] for across in (0, 1) for down in (0, 1)]
        state = self._below("img_txt_bridge.")
        x = slow.linear(state, "0", torch.cat(four, -1).reshape(side * side // 4, -1))
        return np.asarray(slow.linear(state, "2", torch.nn.functional.gelu(x)).float())

    def greedy(self, ids: Sequence[int], place: int, rows: np.ndarray, count: int) -> list[int]:
        """By transformers' Llama and two tables beside it: of a prompt in whose places these rows stand, and of so
        many tokens.
        """
        import torch
        import transformers

        llm = transformers.LlamaForCausalLM(transformers.LlamaConfig(**self.llm)).float().eval()
        at = "llm."
        own = {
            n.removeprefix(at): torch.tensor(v) for n, v in self.state.items() if n.startswith(at)
        }
        llm.load_state_dict(own)
        more, heads = (
            torch.tensor(self.state[f"{n}.weight"]) for n in ("new_input_embs", "extra_lm_head")
        )
        old = self.llm["vocab_size"]

        def embedded(tokens: Sequence[int]) -> Any:
            tables = torch.cat([llm.model.embed_tokens.weight, more])
            return tables[torch.tensor(list(tokens))]

        given = embedded(ids)
        given[torch.tensor(ids) == place] = torch.tensor(rows)
        chosen: list[int] = []
        with torch.no_grad():
            for _ in range(count):
                every = torch.cat([given, embedded(chosen)]) if chosen else given
                hidden = llm.model(inputs_embeds=every[None]).last_hidden_state[0, -1]
                logits = torch.cat([llm.lm_head(hidden), heads @ hidden])
                assert len(logits) == old + len(TOKENS)
                chosen.append(int(logits.argmax()))
        return chosen


def write(folder: Path, *, shards: bool = True, **changes: Any) -> Oracle:
    """A checkpoint: in two of torch's shards, or in safetensors."""
    folder.mkdir(parents=True)
    old = tokenizer(folder)
    llm = config_of("llama", vocab_size=old, hidden_size=WIDTH, max_position_embeddings=512)
    tower, see = TOWERS["groma_vision"].made(TOWERS["groma_vision"].tiny)
    detr, find = TOWERS["groma_proposer"].made(DETR)
    channels = TOWER["hidden_size"]
    tensors: dict[str, Any] = {f"perceiver.vis_encoder.{n}": v for n, v in tower.items()}
    tensors |= {f"perceiver.{n}": v for n, v in detr.items()}
    random = {
        "region_encoder.mlvl_fuse.": slow.maps_shapes(channels, 3, REGION["rounds"]),
        "region_encoder.roi_align.": slow.encoder_shapes(
            channels, WIDTH, 3, REGION["bins"], REGION["inner_size"], REGION["place_size"]
        ),
        "img_txt_bridge.": {
            "0.weight": (WIDTH, 4 * channels), "0.bias": (WIDTH,),
            "2.weight": (WIDTH, WIDTH), "2.bias": (WIDTH,),
        },
        "": {f"{name}.weight": (len(TOKENS), WIDTH) for name in ("new_input_embs", "extra_lm_head")},
    }  # fmt: skip
    for seed, (at, shapes) in enumerate(random.items()):
        made = slow.tensors(shapes, seed)
        tensors |= {f"{at}{name}": value.float().numpy() for name, value in made.items()}
    tensors |= {f"llm.{name}": value for name, value in weights_of(llm).items()}
    state = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "llm_cfg": llm, **changes}))
    save(folder, state, shards=shards)
    return Oracle(state, llm, see, find)


def save(folder: Path, state: Mapping[str, np.ndarray], *, shards: bool) -> None:
    """Tables and what goes on with them lie in different files."""
    if not shards:
        save_file(dict(state), folder / "model.safetensors")
        return
    import torch

    last = [name for name in state if not name.startswith(("llm.", "perceiver."))]
    files = {
        "pytorch_model-00001-of-00002.bin": [name for name in state if name not in last],
        "pytorch_model-00002-of-00002.bin": last,
    }
    for file, names in files.items():
        torch.save({name: torch.tensor(state[name]) for name in names}, folder / file)
    index = {name: file for file, names in files.items() for name in names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
