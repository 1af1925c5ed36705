#if canImport(CryptoKit)
import CryptoKit

/// SHA-256 (FIPS 180-4) of bytes that come in parts.
package struct Sha256 {
    private var hash = SHA256()

    package init() {}

    package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { hash.update(bufferPointer: $0) } }

    /// 64 hexadecimal digits, in small letters.
    package func digits() -> String { hash.finalize().map { hexadecimal($0) }.joined() }
}
#else
/// SHA-256 (FIPS 180-4) of bytes that come in parts: where Apple's is not, as on Linux.
package struct Sha256 {
    private var state: [UInt32]
    private var held: [UInt8] = []
    private var length: UInt64 = 0

    package init() { state = roots(8, cube: false) }

    package mutating func update(_ bytes: [UInt8]) {
        length += UInt64(bytes.count)
        var start = 0
        if !held.isEmpty {
            start = min(64 - held.count, bytes.count)
            held += bytes[..<start]
            if held.count < 64 { return }
            block(held, 0)
            held = []
        }
        while bytes.count - start >= 64 {
            block(bytes, start)
            start += 64
        }
        held += bytes[start...]
    }

    /// 64 hexadecimal digits, in small letters.
    package func digits() -> String {
        var last = self
        let bits = length * 8
        last.update([0x80])
        last.update([UInt8](repeating: 0, count: (120 - last.held.count) % 64))
        last.update((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) })
        return last.state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
            .map { hexadecimal($0) }.joined()
    }

    private mutating func block(_ bytes: [UInt8], _ start: Int) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            for t in 0..<16 {
                let at = start + 4 * t
                w[t] = UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8 | UInt32(bytes[at + 3])
            }
            for t in 16..<64 {
                let small = turned(w[t - 15], 7) ^ turned(w[t - 15], 18) ^ (w[t - 15] >> 3)
                let other = turned(w[t - 2], 17) ^ turned(w[t - 2], 19) ^ (w[t - 2] >> 10)
                w[t] = w[t - 16] &+ small &+ w[t - 7] &+ other
            }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            for t in 0..<64 {
                let first = h &+ (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) &+ ((e & f) ^ (~e & g)) &+ CONSTANTS[t] &+ w[t]
                let second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) &+ ((a & b) ^ (a & c) ^ (b & c))
                (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
            }
            for (at, more) in [a, b, c, d, e, f, g, h].enumerated() { state[at] &+= more }
        }
    }
}

private let CONSTANTS = roots(64, cube: true)

@inline(__always)
private func turned(_ word: UInt32, _ by: UInt32) -> UInt32 { word >> by | word << (32 - by) }

/// The first 32 bits behind the point of the roots of the first primes, by which the standard defines its constants.
private func roots(_ count: Int, cube: Bool) -> [UInt32] {
    var primes: [UInt64] = []
    var next: UInt64 = 2
    while primes.count < count {
        if primes.allSatisfy({ next % $0 != 0 }) { primes.append(next) }
        next += 1
    }
    return primes.map { prime in
        var (low, high): (UInt64, UInt64) = (0, 1 << 37) // of the root times 2 to the 32
        while high - low > 1 {
            let middle = (low + high) / 2
            if power(middle, cube ? 3 : 2, isAtMost: prime, shift: cube ? 96 : 64) { low = middle } else { high = middle }
        }
        return UInt32(truncatingIfNeeded: low)
    }
}

/// Whether a number's power is at most prime << shift, in words of 32 bits.
private func power(_ number: UInt64, _ exponent: Int, isAtMost prime: UInt64, shift: Int) -> Bool {
    var product: [UInt64] = [1]
    for _ in 0..<exponent {
        var out = [UInt64](repeating: 0, count: product.count + 2)
        for (at, digit) in product.enumerated() {
            var carry: UInt64 = 0
            for (more, factor) in [number & 0xffff_ffff, number >> 32].enumerated() {
                let sum = out[at + more] + digit * factor + carry
                out[at + more] = sum & 0xffff_ffff
                carry = sum >> 32
            }
            out[at + 2] += carry
        }
        product = out
    }
    var wanted = [UInt64](repeating: 0, count: product.count)
    wanted[shift / 32] = prime
    for at in product.indices.reversed() where product[at] != wanted[at] { return product[at] < wanted[at] }
    return true
}
#endif

func hexadecimal(_ byte: UInt8) -> String {
    let digits = Array("0123456789abcdef")
    return String([digits[Int(byte >> 4)], digits[Int(byte & 15)]])
}
