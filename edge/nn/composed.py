"""Operations that are made of others, written once: the base of every target's `NetOps`. A target that has
a kernel for one overrides it.

B batch, T rows, C channels, H and W a map's height and width, Q queries, P points.
"""

from functools import reduce
from typing import Protocol

import numpy as np

from edge.nn.resizing import Rule, matrix
from edge.ops import Act, Array, NetOps
from edge.spec import Norm
from edge.typing import F32


class Composed(NetOps[Array], Protocol[Array]):
    """`edge.ops.NetOps`, and what it makes."""

    def mul(self, x: Array, y: Array | float) -> Array:
        return self.pair("mul", x, y)

    def one(self, x: Array, name: str, *, bias: bool = True) -> Array:
        """A product with one weight."""
        (out,) = self.linear(x, name, biased=(name,) if bias else ())
        return out

    def patches(self, x: Array, size: tuple[int, int, int], kernel: int) -> Array:
        """A map [B, H, W, C] of this size -> its squares, row by row: [B, H W / k^2, k k C]. A
        convolution whose stride is its kernel is a product with them.
        """
        height, width, channels = size
        rows, columns = height // kernel, width // kernel
        x = self.reshape(x, -1, kernel, columns, kernel * channels)  # [B rows, k, columns, k C]
        x = self.transpose(x, 0, 2, 1, 3)
        return self.reshape(x, -1, rows * columns, kernel * kernel * channels)

    def group_norm(self, x: Array, name: str, *, groups: int, channels: int, eps: float) -> Array:
        """Over all rows and a group's channels (arXiv 1803.08494): [B, T, C] -> the same."""
        x = self.reshape(self.transpose(x, 0, 2, 1), 0, groups, -1)
        x = self.norm(x, None, Norm(eps=eps, kind="layer"))
        x = self.transpose(self.reshape(x, 0, channels, -1), 0, 2, 1)
        return self.add(self.mul(x, self.param(name)), self.param(f"{name}.bias"))

    def resize(
        self, x: Array, start: tuple[int, int, int], stop: tuple[int, int], rule: Rule
    ) -> Array:
        """A map [B, H, W, C] of size `start` -> [B, H', W', C], as torch's interpolate without
        antialiasing.
        """
        (height, width, channels), (rows, columns) = start, stop
        x = self.matmul(self._matrix(rows, height, rule), self.reshape(x, 0, height, -1))
        x = self.reshape(x, -1, width, channels)  # [B H', W, C]
        x = self.matmul(self._matrix(columns, width, rule), x)
        return self.reshape(x, -1, rows, columns, channels)

    def overlap(self, x: Array, *, stride: int, parts: int, width: int) -> Array:
        """Windows that are added where they overlap, each `parts` strides long and one later than the one
        before: [B, T, parts stride width] -> [B, (T + parts - 1) stride, width].
        """
        pieces = self.split(x, *[stride * width] * parts)
        shifted = [self.pad(p, 1, i, parts - 1 - i) for i, p in enumerate(pieces)]
        return self.reshape(reduce(self.add, shifted), 0, -1, width)

    def conv_transpose(
        self, x: Array, name: str, *, kernel: int, stride: int, width: int,
        cut: tuple[int, int] = (0, 0),
    ) -> Array:  # fmt: skip
        """A transposed convolution along T, a product whose weight is [kernel O, C], tap by tap; its
        kernel is a multiple of the stride. `cut`: rows that go at each end, torch's padding.
        """
        parts = kernel // stride
        assert parts * stride == kernel, f"a kernel of {kernel} and a stride of {stride}"
        x = self.overlap(self.one(x, name, bias=False), stride=stride, parts=parts, width=width)
        x = self.pad(x, 1, -cut[0], -cut[1]) if any(cut) else x
        return self.add(x, self.param(f"{name}.bias"))

    def windows(self, x: Array, *, kernel: int, pad: tuple[int, int], dilation: int = 1) -> Array:
        """What a convolution along T sees from each row, tap by tap: [B, T, C] -> [B, T', kernel C].
        `pad`: zeros before and after.
        """
        span = (kernel - 1) * dilation
        x = self.pad(x, 1, *pad) if any(pad) else x
        taps = [self.pad(x, 1, -at, at - span) for at in range(0, span + 1, dilation)]
        return self.concat(*taps) if kernel > 1 else x

    def conv_rows(
        self, x: Array, name: str, *, kernel: int, pad: tuple[int, int], dilation: int = 1
    ) -> Array:
        """A convolution along T as one product, whose weight is [O, kernel C], tap by tap: as fast as a kernel
        of its own, and its weight may be of few bits on every target.
        """
        return self.one(self.windows(x, kernel=kernel, pad=pad, dilation=dilation), name)

    def conv_strided(
        self, x: Array, name: str, *, kernel: int, stride: int, width: int, pad: tuple[int, int]
    ) -> Array:
        """The same with a stride that divides the kernel and what is padded of T; `width`: C."""
        x = self.reshape(self.pad(x, 1, *pad), 0, -1, stride * width)
        return self.conv_rows(x, name, kernel=kernel // stride, pad=(0, 0))

    def hat(self, at: Array, count: int) -> Array:
        """What each of `count` pixels has of a place between them: at [..., 1] -> [..., count]."""
        pixels = self.const(f"pixels.{count}", (count,), lambda: np.arange(count, dtype=np.float32))
        near = self.act(self.pair("sub", at, pixels), "abs")
        return self.act(self.pair("add", self.mul(near, -1.0), 1.0), "relu")

    def sample(
        self, v: Array, x: Array, y: Array, weights: Array,
        *, size: tuple[int, int, int], heads: int, points: int,
    ) -> Array:  # fmt: skip
        """Deformable attention at given places (arXiv 2010.04159): a map v [B, H W, C] of this size whose
        channels are those of its heads, places in pixels and weights [B, Q, heads P] -> [B, Q, C].
        Bilinear; outside of the map is zero.
        """
        rows, columns, channels = size
        values = self._parts(v, channels // heads, heads)
        split = [self._parts(a, points, heads) for a in (x, y, weights)]
        out = []
        for value, px, py, share in zip(values, *split, strict=True):
            px, py, share = (self.reshape(a, 0, 0, points, 1) for a in (px, py, share))
            across = self.hat(px, columns)  # [B, Q, P, W]
            down = self.mul(self.hat(py, rows), share)
            seen = self.matmul(self.transpose(down, 0, 1, 3, 2), across)  # [B, Q, H, W]
            out.append(self.matmul(self.reshape(seen, 0, 0, rows * columns), value))
        return out[0] if heads == 1 else self.concat(*out)

    def roi_align(
        self, x: Array, boxes: Array, *, size: tuple[int, int, int], bins: int, samples: int
    ) -> Array:
        """Averages of a grid of bins in each region (arXiv 1703.06870, aligned): a map [1, H, W, C] and
        boxes [N, 4] of its pixels, x1 y1 x2 y2 -> [N, bins, bins, C]. A sample more than a pixel outside
        is zero, else it is moved to the edge; a box may be inverted.
        """
        height, width, channels = size
        x1, y1, x2, y2 = self.split(boxes, 1, 1, 1, 1)
        across = self._bins(x1, x2, count=width, bins=bins, samples=samples)  # [N, bins, W]
        down = self._bins(y1, y2, count=height, bins=bins, samples=samples)
        down = self.reshape(down, 1, -1, height)  # one product, which reads the map once
        seen = self.matmul(down, self.reshape(x, 1, height, width * channels))  # [1, N bins, W C]
        seen = self.reshape(seen, -1, bins, width, channels)
        return self.matmul(self.reshape(across, 0, 1, bins, width), seen)

    def experts(
        self, x: Array, scores: Array, name: str, *, count: int, k: int, act: Act, normed: bool
    ) -> Array:
        """A mixture of feed-forwards, of which the k of the largest score count, by the softmax of all
        scores: x [B, T, C], scores [B, T, count] -> [B, T, C]. `normed`: their shares add up to 1. Of
        equal scores at the edge all count.
        """
        least = self._parts(self.top_k(scores, k)[0], 1, k)[-1]
        gates = self.mul(self.softmax(scores), self.pair("at_least", scores, least))
        if normed:
            gates = self.pair("div", gates, self.fold(gates, "sum", -1))
        shares = enumerate(self._parts(gates, 1, count))
        return reduce(
            self.add, (self.mul(self._expert(x, f"{name}.{i}.", act), part) for i, part in shares)
        )

    def _expert(self, x: Array, at: str, act: Act) -> Array:
        return self.one(self.act(self.one(x, at + "up"), act), at + "down")

    def _parts(self, x: Array, width: int, count: int) -> tuple[Array, ...]:
        """So many equal parts of the last axis."""
        return self.split(x, *[width] * count) if count > 1 else (x,)

    def _matrix(self, stop: int, start: int, rule: Rule) -> Array:
        key = f"resize.{start}.{stop}.{rule}"
        return self.const(key, (stop, start), lambda: matrix(start, stop, rule))

    def _bins(self, low: Array, high: Array, *, count: int, bins: int, samples: int) -> Array:
        """Of each pixel along an axis what each bin has: two corners [N, 1] -> [N, bins, count]."""
        total = bins * samples
        parts = self.const(f"bins.{total}", (total,), lambda: _centres(total))
        at = self.add(self.mul(self.pair("sub", high, low), parts), self.pair("add", low, -0.5))
        inside = self.mul(
            self.pair("at_least", at, -1.0),
            self.pair("at_least", self.mul(at, -1.0), -float(count)),
        )
        at = self.pair("min", self.pair("max", at, 0.0), float(count - 1))
        near = self.hat(self.reshape(at, 0, total, 1), count)
        near = self.mul(near, self.reshape(inside, 0, total, 1))
        near = self.fold(self.reshape(near, 0, bins, samples, count), "mean", 2)
        return self.reshape(near, 0, bins, count)


def _centres(count: int) -> F32:
    """The middles of equal parts of 0..1."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)
