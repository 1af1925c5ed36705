"""The cheapest way to give each of some things one of others, exactly: augmenting paths that are the shortest by what
is left of costs (D. F. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 52(4), 2016).

R rows, C columns.
"""

import numpy as np

from edge.typing import F64, I64, AnyArray

MOST = 1e200  # of a cost: sums of such are numbers


def assigned(costs: AnyArray) -> tuple[I64, I64]:
    """Costs [R, C] -> rows, in order, and a column of each that no other has: as many as the smaller side, and of all
    such choices one whose costs in sum are the least. ValueError for a cost that is no number, or too large to be
    added up.
    """
    table = np.asarray(costs, np.float64)
    if table.ndim != 2 or not (np.abs(table) < MOST).all():
        raise ValueError("costs are a table of finite numbers")
    if table.shape[0] > table.shape[1]:
        columns, rows = assigned(table.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    return np.arange(len(table)), _columns(table)


def _columns(costs: F64) -> I64:
    """Of each row its column: [R, C], R no more than C -> [R]."""
    count, width = costs.shape
    rows, columns = np.zeros(count), np.zeros(width)  # what is known of their prices
    chosen, owner = np.full(count, -1), np.full(width, -1)
    for row in range(count):
        far, came, seen, sink = _shortest(costs, row, (rows, columns), owner)
        least = far[sink]
        others = owner[seen]
        others = others[others >= 0]
        rows[others] += least - far[chosen[others]]
        rows[row] += least
        columns[seen] += far[seen] - least
        _turn(row, sink, came, chosen, owner)
    return chosen.astype(np.int64)


def _shortest(
    costs: F64, row: int, prices: tuple[F64, F64], owner: AnyArray
) -> tuple[F64, AnyArray, AnyArray, int]:
    """From a row to the nearest column that is free: how far each column is [C], the row that one comes to it from [C],
    those that were passed [C], and the free one.
    """
    rows, columns = prices
    far, came = np.full(costs.shape[1], np.inf), np.full(costs.shape[1], -1)
    seen, walked = np.zeros(costs.shape[1], bool), 0.0
    while True:
        way = walked + costs[row] - rows[row] - columns
        nearer = ~seen & (way < far)
        far[nearer], came[nearer] = way[nearer], row
        column = int(np.where(seen, np.inf, far).argmin())
        walked = far[column]
        seen[column] = True
        if owner[column] < 0:
            return far, came, seen, column
        row = int(owner[column])


def _turn(row: int, column: int, came: AnyArray, chosen: AnyArray, owner: AnyArray) -> None:
    """Each row on the way takes the column that was reached from it."""
    while True:
        own = int(came[column])
        owner[column] = own
        chosen[own], column = column, int(chosen[own])
        if own == row:
            return
