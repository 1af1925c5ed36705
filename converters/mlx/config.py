"""config.json and generation_config.json as mlx-lm reads them: the source's, and what it would miss.

Doing it again changes nothing, so that a finished folder can be compared with what it should hold.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from edge.names import Spec
from edge.quant.tensor import Scheme
from edge.spec import DecoderSpec, Llama3Scaling, LongRope
from edge.text.ids import SpecialIds

Json = dict[str, Any]
_THETA, _PARTIAL = "rope_theta", "partial_rotary_factor"


def config(source: Mapping[str, Any], spec: Spec, packing: Json | None) -> Json:
    """The source's config with rotary settings in their older spelling, the only one that mlx-lm
    reads, and with what its defaults get wrong. `packing`: how matrices are packed.
    """
    out = _rotary(source, spec) if isinstance(spec, DecoderSpec) else dict(source)
    for key in ("quantization", "quantization_config"):
        out.pop(key, None)
        if packing is not None:
            out[key] = packing
    return out


def _rotary(source: Mapping[str, Any], spec: DecoderSpec) -> Json:
    new, old = source.get("rope_parameters"), source.get("rope_scaling")
    table = new if isinstance(new, dict) else old if isinstance(old, dict) else {}
    out = {key: value for key, value in source.items() if key != "rope_parameters"}
    out[_THETA] = spec.rope.theta  # its Qwen2 takes another base where a config says none
    if _PARTIAL in table:
        out[_PARTIAL] = table[_PARTIAL]
    if new is not None or old is not None:
        out["rope_scaling"] = _scaling(table, spec)
    if isinstance(spec.rope.scaling, LongRope):
        out["original_max_position_embeddings"] = spec.rope.scaling.original_context
    out["tie_word_embeddings"] = spec.tied
    return out


def quantization(schemes: Mapping[str, Scheme]) -> Json | None:
    """How matrices are packed, by module: the commonest way, and that of each which differs."""
    packed = Counter(_way(s) for s in schemes.values() if not (s.is_float or _unknown(s)))
    if not packed and not any(map(_unknown, schemes.values())):
        return None
    commonest = packed.most_common(1)[0][0] if packed else (64, 4)
    others = {
        module: _form(scheme)
        for module, scheme in schemes.items()
        if _unknown(scheme) or _way(scheme) != commonest
    }
    return {**_affine(*commonest), **others}


def generation(source: Mapping[str, Any], ids: SpecialIds) -> Json:
    """With every id that ends an answer: mlx-lm asks no other file."""
    stops = sorted(ids.stop)
    return {**source, "eos_token_id": stops} if stops else dict(source)


def _unknown(scheme: Scheme) -> bool:
    """Whether mlx-lm has no such matrices."""
    return bool(scheme.terms) or scheme.rotated


def _way(scheme: Scheme) -> tuple[int | None, int]:
    return scheme.group, scheme.bits


def _form(scheme: Scheme) -> Json | Literal[False]:
    """Of one module. What it says of a second term or of a rotation no loader of mlx-lm's knows, so that none
    computes without it.
    """
    if scheme.is_float:
        return False
    if not scheme.terms:
        return _affine(*_way(scheme)) | ({"rotated": True} if scheme.rotated else {})
    first, second = (_affine(*_way(term)) for term in scheme.terms)
    return {**first, "added": second, "ordered": scheme.ordered}


def _affine(group: int | None, bits: int) -> Json:
    return {"group_size": group, "bits": bits, "mode": "affine"}


def _scaling(table: Mapping[str, Any], spec: DecoderSpec) -> Json | None:
    """What stretches frequencies, named by `type`, which mlx-lm asks for, and by `rope_type`."""
    kind = table.get("rope_type", table.get("type", "default"))
    if kind == "default":
        return None
    scaling = spec.rope.scaling
    own: Json = {"type": kind, "rope_type": kind}
    if isinstance(scaling, LongRope):
        own = {"type": "longrope", "rope_type": "longrope"}
    if isinstance(scaling, Llama3Scaling):
        own["original_max_position_embeddings"] = scaling.original_context
    return {key: table[key] for key in table if key not in (_THETA, _PARTIAL)} | own
