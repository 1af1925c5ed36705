"""InternVL's projector (arXiv 2404.16821), of the checkpoint that holds it: its config is made of the whole one."""

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import SHARED, Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.projector import ProjectorSpec
from edge.spec import Norm

_EPS = 1e-5  # torch's own: no field of the config


def network(config: Config) -> NetSpec:
    return NetSpec(
        kind="projector",
        config=ProjectorSpec(
            side=config.integer("side"),
            channels=config.integer("channels"),
            width=config.integer("hidden_size"),
            norm=Norm(eps=_EPS, kind="layer"),
            order="v1" if config.text("ps_version") == "v1" else "v2",
        ),
    )


FAMILY = Family(
    name="internvl_projector",
    model_types=("internvl_projector",),
    fields=SHARED | Fields(read=words("side channels hidden_size ps_version")),
    network=network,
    names=NameMap(vision.biased({"norm": "0", "up": "1", "down": "3"})),
)
