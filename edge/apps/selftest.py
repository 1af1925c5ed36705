"""What an app's own device must compute, for it to find out: devices differ, and some are wrong without a word."""

from typing import Any

from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import Opening
from edge.spec import parts
from edge.text.tokenizer import Tokenizer

_TEXT = (
    "Once upon a time there was a girl who had a red kite. Every morning she went up the hill behind the old mill "
    "and waited for the wind. One day the string broke, and the kite flew over the river into the wood."
)
_IDS = 520  # more than the longest call reads


def device_test(artifact: Artifact, tokenizer: Tokenizer) -> list[dict[str, Any]] | None:
    """Cases of golden tokens and rows of the cache, evaluated here; None where the target's runtime offers none."""
    spec = artifact.manifest.decoder
    made = getattr(targets.runtime(artifact.manifest.target), "device_test", None)
    if made is None or len(parts(spec)) > 1:
        return None
    ids = tokenizer.encode(_TEXT, special=False)
    begin = [tokenizer.bos_id] if tokenizer.adds_bos and tokenizer.bos_id is not None else []
    whole = [*begin, *(ids * -(-_IDS // len(ids)))][:_IDS]
    cases: list[dict[str, Any]] = made(Opening(artifact.place, spec, reference=True), whole)
    return cases
