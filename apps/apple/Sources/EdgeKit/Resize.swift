/// A picture at another size, by Pillow's bicubic filter to the bit: two passes, each rounded to bytes, weights as whole numbers.
/// Along the rows first, but where much more height is lost than width along the columns, as Pillow does since 13.0
/// (python-pillow/Pillow#9549). What becomes smaller is smoothed, for then the filter is as wide as what it shrinks.
package func resized(_ picture: Picture, width: Int, height: Int) throws -> Picture {
    func across(_ rgb: [UInt8], rows: Int) -> [UInt8] {
        if width == picture.width { return rgb }
        let taps = taps(from: picture.width, to: width)
        return passed(rgb, taps, lines: rows, next: 3 * picture.width, step: 3, outNext: 3 * width, outStep: 3)
    }
    func down(_ rgb: [UInt8], columns: Int) -> [UInt8] {
        if height == picture.height { return rgb }
        let taps = taps(from: picture.height, to: height)
        return passed(rgb, taps, lines: columns, next: 3, step: 3 * columns, outNext: 3, outStep: 3 * columns)
    }
    let lost = picture.height - height
    let rgb = lost > 0 && lost > 2 * (picture.width - width)
        ? across(down(picture.rgb, columns: picture.width), rows: height)
        : down(across(picture.rgb, rows: picture.height), columns: width)
    return try Picture(width: width, height: height, rgb: rgb)
}

/// Of one pixel: the first that it is made of, and their weights.
private struct Taps {
    let first: Int
    let weights: [Int32]
}

private let ONE = 22 // bits that a weight of one has behind its point

private func taps(from size: Int, to wanted: Int) -> [Taps] {
    let ratio = Double(size) / Double(wanted)
    let shrink = max(1, ratio)
    let reach = 2 * shrink
    return (0..<wanted).map { place in
        let middle = (Double(place) + 0.5) * ratio
        let first = max(0, Int(middle - reach + 0.5))
        let end = min(size, Int(middle + reach + 0.5))
        let all = (first..<end).map { cubic((Double($0) - middle + 0.5) * (1 / shrink)) }
        let sum = all.reduce(0, +)
        let weights = all.map { Int32((($0 / sum) * Double(1 << ONE)).rounded(.toNearestOrAwayFromZero)) }
        return Taps(first: first, weights: weights)
    }
}

/// Keys' cubic with -0.5 for its free number.
private func cubic(_ at: Double) -> Double {
    let x = abs(at)
    if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
}

/// One pass over lines that begin `next` apart and whose pixels lie `step` apart.
private func passed(_ rgb: [UInt8], _ taps: [Taps], lines: Int, next: Int, step: Int, outNext: Int, outStep: Int) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: 3 * lines * taps.count)
    rgb.withUnsafeBufferPointer { rgb in
        for line in 0..<lines {
            for (place, tap) in taps.enumerated() {
                for colour in 0..<3 {
                    var sum: Int32 = 1 << Int32(ONE - 1)
                    var at = line * next + tap.first * step + colour
                    for weight in tap.weights {
                        sum &+= weight &* Int32(rgb[at])
                        at += step
                    }
                    out[line * outNext + place * outStep + colour] = UInt8(min(255, max(0, sum >> Int32(ONE))))
                }
            }
        }
    }
    return out
}
