"""Which type each weight gets in a mixture of llama.cpp's (`q4_k_m`): its quantizer's rules as data.

Most weights get one type; some of more effect get a larger one, in all layers or in some. Rows that a
type's blocks do not divide fall back to a type of smaller blocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge.errors import Unsupported
from edge.gguf.architectures import Architecture
from edge.gguf.kinds import BY_NAME
from edge.names import shapes
from edge.quant.ggml import MIXTURES, NEEDY
from edge.spec import DecoderSpec

HEAD, EMBED, V, K, Q, O, DOWN, UP, GATE = (  # noqa: E741 - a projection's usual letter
    "head", "embed", "attn.v", "attn.k", "attn.q", "attn.o", "mlp.down", "mlp.up", "mlp.gate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class At:
    """A layer of so many, in a model whose kv heads serve many query heads or not; `calibrated`: with
    an importance matrix.
    """

    index: int
    count: int
    grouped: bool
    calibrated: bool


When = Callable[[At], bool]
Rule = tuple[tuple[When, str], ...]  # the first that holds; none: what most weights get


def _always(_at: At) -> bool:
    return True


def _grouped(at: At) -> bool:
    return at.grouped


def _first_eighth(at: At) -> bool:
    return at.index < at.count // 8


def _first_sixteenth(at: At) -> bool:
    return at.index < at.count // 16


def _inner(at: At) -> bool:
    return at.count // 8 <= at.index < 7 * at.count // 8


def _ends_and_thirds(at: At) -> bool:
    return not _inner(at) or (at.index - at.count // 8) % 3 == 2


def _first_two(at: At) -> bool:
    return at.index < 2


def _first_four(at: At) -> bool:
    return at.index < 4


def _early_uncalibrated(at: At) -> bool:
    return _first_eighth(at) and not at.calibrated


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """`file_type`: llama.cpp's number of it; `embed`: None is what most weights get; `raised`: types
    that become q5_k for the values of a large model.
    """

    file_type: int
    head: str = "q6_k"
    embed: str | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    raised: tuple[str, ...] = ("q3_k", "q4_k")


def _only(word: str, when: When = _always) -> Rule:
    return ((when, word),)


_MORE = {V: _only("q6_k", _ends_and_thirds), DOWN: _only("q6_k", _ends_and_thirds)}
_LOW = {V: ((_grouped, "q4_k"), (_always, "q2_k")), DOWN: _only("q2_k", _first_eighth)}
_LOW_OUT = {**_LOW, O: _only("iq2_xxs")}
_TWO = {
    V: ((_grouped, "q4_k"), (_always, "iq3_s")),
    DOWN: _only("iq3_s", _first_eighth),
    O: _only("iq3_s"),
}
_FOUR = {V: _only("q5_k", _grouped), DOWN: _only("q5_k", _early_uncalibrated)}
_SMALL = {part: _only("iq3_xxs") for part in (Q, K)}
_SMALL |= {part: _only("iq3_xxs", _inner) for part in (UP, GATE)}
RULES: Mapping[str, Mixture] = {
    "q2_k": Mixture(
        file_type=10,
        rules={
            V: ((_grouped, "q4_k"), (_always, "q3_k")),
            DOWN: _only("q3_k"),
            O: _only("q3_k"),
        },
    ),
    "q2_k_s": Mixture(
        file_type=21, rules={V: _only("q4_k", _grouped), DOWN: _only("q4_k", _first_eighth)}
    ),
    "q3_k_s": Mixture(file_type=11),
    "q3_k_m": Mixture(
        file_type=12,
        rules={
            V: ((_first_two, "q5_k"), (_always, "q4_k")),
            DOWN: ((_first_sixteenth, "q5_k"), (_always, "q4_k")),
            O: _only("q4_k"),
        },
    ),
    "q3_k_l": Mixture(file_type=13, rules={part: _only("q5_k") for part in (V, DOWN, O)}),
    "q4_k_s": Mixture(
        file_type=14, rules={V: _only("q5_k", _first_four), DOWN: _only("q5_k", _first_eighth)}
    ),
    "q4_k_m": Mixture(file_type=15, rules=_MORE),
    "q5_k_s": Mixture(file_type=16),
    "q5_k_m": Mixture(file_type=17, rules=_MORE),
    "q6_k": Mixture(file_type=18),
    "iq2_xxs": Mixture(file_type=19, head="q5_k", embed="q2_k", rules=_LOW, raised=()),
    "iq2_xs": Mixture(file_type=20, head="q5_k", embed="q2_k", rules=_LOW, raised=()),
    "iq1_s": Mixture(file_type=24, head="q5_k", embed="q2_k", rules=_LOW_OUT, raised=()),
    "iq1_m": Mixture(file_type=31, head="q5_k", embed="q2_k", rules=_LOW_OUT, raised=()),
    "iq2_s": Mixture(file_type=28, head="q5_k", embed="iq3_s", rules=_TWO, raised=()),
    "iq2_m": Mixture(file_type=29, head="q5_k", embed="iq3_s", rules=_TWO, raised=()),
    "iq3_xxs": Mixture(
        file_type=23,
        head="q5_k",
        embed="iq3_s",
        rules={
            V: _only("q4_k", _grouped),
            **{part: _only("iq2_s") for part in (Q, K)},
            O: _only("iq3_s"),
        },
    ),
    "iq3_xs": Mixture(file_type=22, rules={V: _only("q4_k", _grouped), **_SMALL}),
    "iq3_s": Mixture(file_type=26, rules={V: _only("q4_k", _grouped)}),
    "iq3_m": Mixture(
        file_type=27,
        rules={V: _only("q4_k"), DOWN: _only("q4_k", _first_eighth), O: _only("q4_k")},
    ),
    "iq4_nl": Mixture(file_type=25, rules=_FOUR),
    "iq4_xs": Mixture(file_type=30, rules=_FOUR),
}
# A type -> that of smaller blocks for rows that its own do not divide; fp16 where those do not, too.
_FALLBACK = {
    "q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0",
    "iq1_s": "iq4_nl", "iq1_m": "iq4_nl", "iq2_xxs": "iq4_nl", "iq2_xs": "iq4_nl",
    "iq2_s": "iq4_nl", "iq3_xxs": "iq4_nl", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl",
}  # fmt: skip


def mixed(
    mixture: str, spec: DecoderSpec, arch: Architecture, *, calibrated: bool | None
) -> dict[str, str]:
    """Every matrix's type by its canonical name. Refuses what needs an importance matrix and has
    none; `calibrated` None: as if there were one if need be.
    """
    made = _types(mixture, spec, arch, calibrated=bool(calibrated))
    needy = [name for name, word in made.items() if _needs(name, word, mixture)]
    if needy and calibrated is None:
        return _types(mixture, spec, arch, calibrated=True)
    if needy and not calibrated:
        raise Unsupported(
            f"{mixture} needs an importance matrix: without one llama.cpp makes no {made[needy[0]]} "
            f"for {needy[0]}",
            fix="give --calibrate a text of what the model is for; or use --quant iq3_s, q3_k_m, …",
        )
    return made


def _types(
    mixture: str, spec: DecoderSpec, arch: Architecture, *, calibrated: bool
) -> dict[str, str]:
    rules, body = RULES[mixture], MIXTURES[mixture]
    first, count = spec.layers[0], len(spec.layers)
    grouped = first.heads >= 4 * first.kv_heads
    grouped_and_large = count == arch.large and first.heads != first.kv_heads
    part_of = _parts(arch)
    out = {}
    for name, shape in shapes(spec).items():
        if len(shape) != 2 or name in (HEAD, EMBED):
            continue
        _, index, part = name.split(".", 2)
        at = At(int(index), count, grouped, calibrated)
        part = part_of.get(part, part)
        word = next((word for when, word in rules.rules.get(part, ()) if when(at)), body)
        if grouped_and_large and part == V and word in rules.raised:
            word = "q5_k"
        out[name] = _fitting(word, shape[1])
    return {**_ends(rules, body, spec, arch), **out}


def _ends(rules: Mixture, body: str, spec: DecoderSpec, arch: Architecture) -> dict[str, str]:
    """Embedding and head; a table that is both is as good as a head."""
    divides = spec.width % BY_NAME[body.upper()].block == 0
    head = _fitting(rules.head if divides else "q8_0", spec.width)
    if spec.tied and arch.head != "own":
        return {EMBED: head, HEAD: head}
    return {EMBED: _fitting(rules.embed or body, spec.width), HEAD: head}


def _parts(arch: Architecture) -> dict[str, str]:
    """A stacked query, key and value are as good as a value; a gate lies with what it gates."""
    return {part: V if V in stacked else UP for stacked in arch.fused.values() for part in stacked}


def _fitting(word: str, columns: int) -> str:
    """A type whose blocks divide a row."""
    for candidate in (word, _FALLBACK.get(word, word)):
        if columns % BY_NAME[candidate.upper()].block == 0:
            return candidate
    return "fp16"


def _needs(name: str, word: str, mixture: str) -> bool:
    if name in (HEAD, EMBED):
        return False
    return word in NEEDY or (word == "q2_k" and mixture == "q2_k_s")
