"""Regions chosen from real numbers of proposals, against NonMaxSuppression of ONNX Runtime."""

import numpy as np
import pytest

from edge.typing import F32
from edge.vision.selection import Limits, select

ort = pytest.importorskip("onnxruntime")
ir = pytest.importorskip("onnx_ir")


def suppression(limits: Limits) -> "ort.InferenceSession":
    """A graph of that operation alone, for middles and sizes."""
    boxes, scores = (
        ir.Value(name=name, shape=ir.Shape((1, *shape)), type=ir.TensorType(ir.DataType.FLOAT))
        for name, shape in (("boxes", ("n", 4)), ("scores", (1, "n")))
    )
    numbers = {
        "most": np.array([limits.most], np.int64),
        "overlap": np.array([limits.overlap], np.float32),
        "score": np.array([limits.score], np.float32),
    }
    held = [ir.Value(name=n, const_value=ir.tensor(x, name=n)) for n, x in numbers.items()]
    node = ir.node(
        "NonMaxSuppression", [boxes, scores, *held], {"center_point_box": 1}, num_outputs=1
    )
    (out,) = node.outputs
    out.name, out.dtype, out.shape = "chosen", ir.DataType.INT64, ir.Shape(("k", 3))
    graph = ir.Graph(
        [boxes, scores], [out], nodes=[node], initializers=held, opset_imports={"": 18}, name="g"
    )
    model = ir.Model(graph, ir_version=10)
    return ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def proposals(rng: np.random.Generator) -> tuple[F32, F32]:
    """300 boxes that crowd round a few places, some of them beyond the picture's edge."""
    places = rng.uniform(0, 1, (12, 2))[rng.integers(0, 12, 300)]
    middles = places + rng.normal(0, 0.03, (300, 2))
    boxes = np.concatenate([middles, rng.uniform(0.02, 0.5, (300, 2))], axis=1)
    return boxes.astype(np.float32), rng.beta(1, 3, 300).astype(np.float32)


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(overlap=0.3, most=20), Limits(score=0.5, overlap=0.9)], ids=str
)
def test_the_same_regions_in_the_same_order(limits: Limits) -> None:
    session, counts = suppression(limits), set()
    for seed in range(20):
        boxes, scores = proposals(np.random.default_rng(seed))
        (chosen,) = session.run(None, {"boxes": boxes[None], "scores": scores[None, None]})
        found = select(boxes, scores, limits).rows
        assert found.tolist() == chosen[:, 2].tolist(), seed
        counts.add(len(found))
    assert min(counts) > 5
    assert max(counts) < 300
