"""Adapters that PEFT makes of tiny checkpoints: the oracle of ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def model_of(checkpoint: Path) -> Any:
    """transformers' model, in float32."""
    library, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    config = library.AutoConfig.from_pretrained(
        checkpoint, pad_token_id=0
    )  # some lie past our vocabulary
    return library.AutoModelForCausalLM.from_pretrained(
        checkpoint, config=config, dtype=torch.float32, attn_implementation="eager"
    )


def adapted(checkpoint: Path, *, seed: int = 0, **fields: Any) -> Any:
    """The model with an adapter of random numbers in all of its tensors."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    model = peft.get_peft_model(model_of(checkpoint), peft.LoraConfig(**fields))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                noise = torch.randn(value.shape, generator=generator)
                # Lengths stay lengths.
                value.copy_(value * (1 + 0.1 * noise) if "magnitude" in name else 0.3 * noise)
    return model.eval()


def saved(folder: Path, checkpoint: Path, **fields: Any) -> Any:
    """The same, in PEFT's own folder."""
    model = adapted(checkpoint, **fields)
    model.save_pretrained(folder)
    return model


def merged(model: Any) -> Mapping[str, np.ndarray]:
    """The checkpoint's tensors as PEFT merges them; the model is one without an adapter then."""
    plain = model.merge_and_unload()
    return {name: value.detach().numpy() for name, value in plain.state_dict().items()}
