/// A number of 16 bits (IEEE 754 binary16) from its bits: Swift's own type is not there on Macs with Intel's processors.
package func float(_ half: UInt16) -> Float {
    let sign = UInt32(half & 0x8000) << 16
    let (exponent, fraction) = (UInt32(half >> 10 & 0x1f), UInt32(half & 0x3ff))
    switch exponent {
    case 0: return Float(bitPattern: sign | (Float(fraction) * 0x1p-24).bitPattern)
    case 31: return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13)
    default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
}

/// The nearest number of 16 bits, of two as near the even one.
package func half(_ number: Float) -> UInt16 {
    let sign = UInt16(number.bitPattern >> 16 & 0x8000)
    let size = number.magnitude
    if size.isNaN { return sign | 0x7e00 }
    if size >= 65520 { return sign | 0x7c00 }
    if size < 0x1p-14 { return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven)) }
    let even: UInt32 = size.bitPattern >> 13 & 1
    let rounded: UInt32 = (size.bitPattern + 0xfff + even) >> 13
    return sign | UInt16(rounded - (112 << 10))
}
