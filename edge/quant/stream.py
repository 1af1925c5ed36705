"""Codes as a stream of bits, each from its lowest bit on: how every format here that holds any number of bits packs
them. `edge.quant.bits` reads it, and shares nothing with this. N rows, K columns.
"""

import numpy as np

from edge.typing import U8


def packed(codes: U8, bits: int) -> U8:
    """[N, K] -> [N, K bits / 8]; zeros fill the last byte of a row."""
    if bits == 8:
        return codes
    if codes.shape[1] % 8:
        whole = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))
        return packed(whole, bits)[:, : -(-codes.shape[1] * bits // 8)]
    if bits == 4:
        pairs = np.ascontiguousarray(codes).view("<u2")  # low byte: even column, high byte: odd one
        return (pairs | pairs >> 4).astype(np.uint8)
    eights = codes.reshape(-1, 8).astype("<u8")  # eight codes fill `bits` bytes
    eights <<= np.arange(0, 8 * bits, bits, dtype=np.uint64)
    joined = np.bitwise_or.reduce(eights, axis=1)
    return joined.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(len(codes), -1)
