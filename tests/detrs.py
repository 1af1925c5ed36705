"""transformers' deformable DETR in two stages as an oracle: over rows of features in place of a picture, with learned
queries, and as Groma's code changes it. Its weights go by the names of Groma's checkpoints.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from towers import shaken

Fields = Mapping[str, Any]
State = Mapping[str, np.ndarray]
# Points that lie on many pixels, and outside; scores that are far from each other, as those of a trained one are.
WIDER = {"sampling_offsets": 6.0, "class_embed": 20.0, "second": 20.0}


class Detr:
    """`fields`: of a `DeformableDetrConfig`; `channels`: of rows; `grid`: rows and columns of the map."""

    def __init__(self, fields: Fields, channels: int, grid: tuple[int, int]) -> None:
        import torch
        import transformers
        from torch import nn

        class Front(nn.Module):
            """What is given, in place of a backbone, and a mask that leaves nothing out."""

            def forward(self, pixels: Any, _mask: Any) -> Any:
                return [(pixels, torch.ones(len(pixels), *pixels.shape[-2:], dtype=torch.bool))]

        class Channels(nn.LayerNorm):
            def forward(self, x: Any) -> Any:
                return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

        stages = {"out_features": ["stage4"], "hidden_sizes": [8] * 4, "depths": [1] * 4}
        config = transformers.DeformableDetrConfig(
            use_timm_backbone=False,
            backbone_config={"model_type": "resnet", "embedding_size": 8, **stages},
            **fields,
        )
        self.grid, self.last = grid, fields["decoder_layers"] - 1
        self.detr = transformers.DeformableDetrForObjectDetection(config)
        width, inner = fields["d_model"], self.detr.model
        inner.backbone = Front()
        proj = nn.Conv2d(channels, width, 1), Channels(width, eps=1e-6)
        inner.input_proj[0] = nn.Sequential(*proj)
        inner.decoder.bbox_embed, inner.decoder.class_embed = (
            self.detr.bbox_embed,
            self.detr.class_embed,
        )
        self.second = nn.ModuleList([nn.Linear(width, 1) for _ in range(self.last + 1)])
        self.queries = nn.Embedding(fields["two_stage_num_proposals"], width)
        self.first: Any = None
        self.follows = True
        inner.pos_trans_norm.register_forward_hook(self._learned)
        for layer in inner.decoder.layers:
            layer.register_forward_pre_hook(self._around)
        whole = nn.ModuleDict({"detr": self.detr, "second": self.second, "queries": self.queries})
        self.state = self._renamed(shaken(whole))
        with torch.no_grad():
            for name, weight in whole.named_parameters():
                for part, by in WIDER.items():
                    if part in name and weight.ndim > 1:
                        weight.mul_(by)

    def __call__(
        self, features: np.ndarray, *, powers: Sequence[float] = (1.0,), follows: bool = True
    ) -> dict[str, np.ndarray]:
        """[B, N, channels] -> scores [B, Q] and boxes [B, Q, 4]."""
        import torch

        self.first, self.follows = None, follows
        given = torch.tensor(features).transpose(1, 2).reshape(len(features), -1, *self.grid)
        with torch.no_grad():
            out = self.detr(given)
            boxes = out.pred_boxes if follows else self._moved(out)
            hidden = out.intermediate_hidden_states[:, -1]
            heads = (self.detr.class_embed[self.last], self.second[self.last])
            found = [h(hidden)[..., 0].sigmoid() ** p for h, p in zip(heads, powers, strict=False)]
            return {"scores": np.asarray(torch.stack(found).prod(0)), "boxes": np.asarray(boxes)}

    def _moved(self, out: Any) -> Any:
        """The proposals after the steps of the last two layers, each step's box a sigmoid's."""
        boxes = out.init_reference_points
        for layer in (self.last - 1, self.last):
            step = self.detr.bbox_embed[layer](out.intermediate_hidden_states[:, layer])
            boxes = (step + (boxes / (1 - boxes)).log()).sigmoid()
        return boxes

    def _learned(self, _module: Any, _given: Any, out: Any) -> Any:
        """Of a proposal's embedding the place, and a learned content (mixed query selection)."""
        import torch

        place = out[..., : out.shape[-1] // 2]
        return torch.cat([place, self.queries.weight.expand_as(place)], -1)

    def _around(self, _module: Any, given: Any) -> Any:
        """The first layer's boxes for all of them, where none follows the one before it."""
        if self.first is None or self.follows:
            self.first = given[2]
        return (*given[:2], self.first, *given[3:])

    def _renamed(self, state: State) -> State:
        """By Groma's names: heads of scores are COCO's and, apart, SA-1B's; the decoder has all heads twice."""
        head = f"class_embed.{self.last + 1}"
        changes = (
            (r"^detr\.model\.decoder\.class_embed\..*", ""),
            (r"^detr\.(model\.input_proj)", r"\1"),
            (r"^model\.", ""),
            (r"^detr\.(?:model\.)?", "ddetr_transformer."),
            (r"^second", "ddetr_transformer.class_embed_sa1b"),
            (r"^queries", "ddetr_transformer.query_position_embeddings"),
            (re.escape(head), "class_embed_enc"),
            (r"class_embed\.", "class_embed_coco."),
            (r"\.mlp\.fc", ".fc"),
            (r"self_attn\.o_proj", "self_attn.out_proj"),
        )
        out = {}
        for name, value in state.items():
            new = name
            for old, to in changes:
                new = re.sub(old, to, new)
            if new:
                out[new] = value
        twice = {n: v for n, v in out.items() if ".class_embed_" in n}
        at = "ddetr_transformer."
        return {**out, **{n.replace(at, f"{at}decoder."): v for n, v in twice.items()}}
