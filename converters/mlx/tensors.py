"""What becomes of weights: tensors under the checkpoint's own names, fused where they are fused there."""

from collections.abc import Mapping
from dataclasses import dataclass

from edge.errors import Unsupported
from edge.files.safetensors import Tensor
from edge.names import Location, Spec
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge_converters.mlx.config import quantization
from edge_converters.mlx.pack import Piece, order_of, pieces


@dataclass(frozen=True, slots=True)
class MlxTensors:
    """`places`: the tensor that each weight lies in; `schemes`: by the tensor's name, in which precision."""

    spec: Spec
    recipe: Recipe
    places: Mapping[str, Location]
    schemes: Mapping[str, Scheme]

    @classmethod
    def of(
        cls,
        spec: Spec,
        recipe: Recipe,
        schemes: Mapping[str, Scheme],
        places: Mapping[str, Location],
    ) -> "MlxTensors":
        """Refuses two precisions in one fused tensor."""
        found = dict[str, Scheme]()
        for name, place in places.items():
            if found.setdefault(place.tensor, schemes[name]) != schemes[name]:
                together = [other for other in places if places[other].tensor == place.tensor]
                raise Unsupported(
                    f"mlx-lm keeps {', '.join(together)} in one tensor of one precision",
                    fix="give them the same precision",
                )
        return cls(spec, recipe, places, found)

    def in_order(self) -> dict[str, Tensor]:
        """Everything to be stored, in the order of use."""
        stored = {place.tensor: place.stored for place in self.places.values()}
        out: dict[str, Tensor] = {}
        for tensor, shape in stored.items():
            for piece in pieces(self.schemes[tensor], shape[1:]):
                out[name_of(tensor, piece)] = Tensor(piece.dtype, (shape[0], *piece.row))
            if order := order_of(self.schemes[tensor], shape[1:]):
                out[name_of(tensor, order)] = Tensor(order.dtype, order.row)
        return out

    def packing(self) -> dict[str, object] | None:
        """What config.json says of matrices."""
        known = matrices(self.spec)
        tensors = (place.tensor for name, place in self.places.items() if name in known)
        return quantization({n.removesuffix(".weight"): self.schemes[n] for n in tensors})


def name_of(tensor: str, piece: Piece) -> str:
    """Scales and biases lie beside the weight; a vector has its own name, whatever it ends on."""
    return tensor if piece.suffix == "weight" else f"{tensor.removesuffix('weight')}{piece.suffix}"
