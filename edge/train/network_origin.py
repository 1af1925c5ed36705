"""Where the run of a network starts, and how the checkpoint that it ends in is spelled: as the one it goes on from,
with a head of new labels where the recipe asks for one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.convert.networks import labels_of, shown
from edge.errors import EdgeError, Unsupported
from edge.families import Family, family_of
from edge.files.config import Config
from edge.names import Location
from edge.net import NetSpec
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.source.headers import Headers
from edge.typing import F32
from edge.vision.settings import VisionSettings

HEAD = "head"


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkOrigin:
    """`places`: of its weights in the tensors that are written, of these `dtypes`; `texts`: its other files; `vision`:
    how it is shown pictures; `labels`: what the rows of its head mean, as far as anyone says.
    """

    folder: Path
    family: Family
    config: Config
    spec: NetSpec
    places: Mapping[str, Location]
    dtypes: Mapping[str, str]
    texts: Mapping[str, bytes]
    vision: VisionSettings | None
    labels: Sequence[str]
    fresh: tuple[str, ...] = ()  # weights that begin as zeros

    def weights(self) -> Iterator[tuple[str, F32]]:
        """Those that training starts from, one at a time."""
        with Checkpoint.open(self.folder) as checkpoint:
            for name, place in self.places.items():
                zeros = name in self.fresh
                yield name, np.zeros(place.shape, np.float32) if zeros else whole(checkpoint, name)

    def relabelled(self, labels: Sequence[str]) -> "NetworkOrigin":
        """With a head of zeros for other labels, as transformers spells them: in place of its own, or where it has
        none yet.
        """
        named: dict[str, Any] = {
            **{key: value for key, value in self.config.data.items() if key != "num_labels"},
            "id2label": {str(row): label for row, label in enumerate(labels)},
            "label2id": {label: row for row, label in enumerate(labels)},
        }
        kinds = [
            {"architectures": kind} for kind in self.family.fields.only.get("architectures", ())
        ]
        for kind in ({}, *kinds):
            config = Config({**named, **kind}, self.config.where)
            spec = self.family.spec(config)
            assert isinstance(spec, NetSpec), "a network stays one"
            if spec.config.shapes().get(HEAD, (0,))[0] == len(labels):
                return replace(
                    self,
                    spec=spec,
                    places=self.family.names.places(spec),
                    texts={**self.texts, "config.json": _json(config.data)},
                    labels=labels,
                    fresh=(HEAD, f"{HEAD}.bias"),
                )
        raise Unsupported(
            f"a {self.family.name} has no head for labels that are named in its config.json",
            fix="train its own: `labels: own` in the recipe",
        )


def network_origin(folder: Path) -> NetworkOrigin:
    """Of a checkpoint; refuses a decoder, and one that cannot be written again."""
    with Checkpoint.open(folder) as checkpoint:
        spec, places = checkpoint.spec, checkpoint.places
        if not isinstance(spec, NetSpec):
            raise EdgeError(
                f"{folder} is a decoder of text, and this recipe trains another network",
                fix="use a recipe with `text`, such as layerskip-continue",
            )
        for place in places.values():
            if place.made is not None and place.made.parts is None:
                place.parts(np.zeros(place.shape, np.float32))  # which refuses it by name
        vision, labels = shown(checkpoint), labels_of(checkpoint)
        family, config = checkpoint.family, checkpoint.config
    entries = Headers.of(folder).entries()
    others = [
        file for file in sorted(folder.glob("*.json")) if not file.name.endswith(".index.json")
    ]
    return NetworkOrigin(
        folder=folder,
        family=family,
        config=config,
        spec=spec,
        places=places,
        dtypes={name: entry.dtype for name, entry in entries.items()},
        texts={file.name: file.read_bytes() for file in others},
        vision=vision,
        labels=labels,
    )


def unwritten(config: Config) -> NetworkOrigin:
    """Of a checkpoint that nobody has written yet, whose weights are to be float32."""
    family = family_of(config)
    spec = family.spec(config)
    assert isinstance(spec, NetSpec), f"{family.name} is a network"
    places = family.names.places(spec)
    return NetworkOrigin(
        folder=Path(config.where).parent,
        family=family,
        config=config,
        spec=spec,
        places=places,
        dtypes={tensor: "F32" for place in places.values() for tensor in place.tensors},
        texts={"config.json": _json(config.data)},
        vision=None,
        labels=(),
    )


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()
