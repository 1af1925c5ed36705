import Foundation
#if canImport(ImageIO)
import CoreGraphics
import ImageIO
#endif

/// A picture from a file: what the system reads, upright; elsewhere a PPM.
public func picture(from file: URL) throws -> Picture {
    #if canImport(ImageIO)
    guard let source = CGImageSourceCreateWithURL(file as CFURL, nil), let about = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let width = about[kCGImagePropertyPixelWidth] as? Int, let height = about[kCGImagePropertyPixelHeight] as? Int
    else { return try Picture(ppm: bytes(of: file)) }
    try Picture.check(width, height)
    // A thumbnail of the full size is turned as its EXIF says.
    let options: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true, kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: max(width, height),
    ]
    guard let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary) else {
        throw EdgeError("The picture cannot be decoded: get the file again.")
    }
    return try drawn(image)
    #else
    return try Picture(ppm: bytes(of: file))
    #endif
}

#if canImport(ImageIO)
/// Its pixels, without what is transparent.
private func drawn(_ image: CGImage) throws -> Picture {
    let (width, height) = (image.width, image.height)
    var four = [UInt8](repeating: 255, count: 4 * width * height)
    let done = four.withUnsafeMutableBytes { bytes in
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { return false }
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
    }
    if !done { throw EdgeError("The picture cannot be drawn: make it smaller.") }
    var rgb: [UInt8] = []
    rgb.reserveCapacity(3 * width * height)
    for at in stride(from: 0, to: four.count, by: 4) { rgb += four[at..<at + 3] }
    return try Picture(width: width, height: height, rgb: rgb)
}
#endif
