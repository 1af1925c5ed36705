/// How a picture is cut: so many tiles in a row, and rows of them.
package struct Grid: Equatable, Sendable {
    package let columns, rows: Int

    /// Of the grid, and the small picture after them.
    package var tiles: Int { columns * rows > 1 ? columns * rows + 1 : 1 }
}

/// The grid of at most so many tiles of `side` pixels whose shape is nearest to the picture's. Of two of one shape the larger is
/// taken if the picture has more than half of its pixels.
package func grid(width: Int, height: Int, side: Int, most: Int) -> Grid {
    let (shape, area) = (Double(width) / Double(height), Double(width * height))
    var (best, nearest) = (Grid(columns: 1, rows: 1), Double.infinity)
    for cells in 1...most { // the fewest tiles first, and of those the narrowest
        for columns in 1...cells where cells % columns == 0 {
            let grid = Grid(columns: columns, rows: cells / columns)
            let apart = abs(shape - Double(grid.columns) / Double(grid.rows))
            if apart < nearest { (best, nearest) = (grid, apart) } else if apart == nearest, area > 0.5 * Double(side * side * cells) {
                best = grid
            }
        }
    }
    return best
}

/// Each tile, row by row, and the small picture last, where there is more than one; the picture is stretched to the grid.
package func tiles(_ picture: Picture, _ grid: Grid, side: Int) throws -> [Picture] {
    let whole = try resized(picture, width: grid.columns * side, height: grid.rows * side)
    var out: [Picture] = []
    for row in 0..<grid.rows {
        for column in 0..<grid.columns {
            let lines = (0..<side).map { line in
                let start = 3 * ((row * side + line) * whole.width + column * side)
                return whole.rgb[start..<start + 3 * side]
            }
            out.append(try Picture(width: side, height: side, rgb: Array(lines.joined())))
        }
    }
    if grid.tiles > 1 { out.append(try resized(picture, width: side, height: side)) }
    return out
}
