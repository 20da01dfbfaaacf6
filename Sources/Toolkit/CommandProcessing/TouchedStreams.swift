package import EventSourcing

/// The streams of a command as a response stores them: their hashes, with the positions of their last events. Before
/// the append these positions are not known. They are written as differences from the position that the append puts in
/// place of the mark. A position after `=` is absolute.
///
///     1041 5cd2…09+0 33a1…7e-2 9b04…c1=87
package enum TouchedStreams {
  /// - Parameters:
  ///   - streams: Each with the offset of its last event in the batch, or with its position if the batch has no event
  ///     of it.
  ///   - base: The offset that the mark stands for; nil if no stream has an offset.
  static func text(_ streams: [(StreamID, position: Position, offset: Int?)], base: Int?) -> [UInt8] {
    var text: [UInt8] = base == nil ? [UInt8(ascii: "0")] : [ResponseTemplate.positionMark]
    text.reserveCapacity(2 + streams.count * 24)
    for (stream, position, offset) in streams {
      let (sign, number): (Character, Int64)
      if let offset, let base {
        (sign, number) = offset < base ? ("-", Int64(base - offset)) : ("+", Int64(offset - base))
      } else {
        (sign, number) = ("=", position.rawValue)
      }
      // A stream that does not exist has no position to wait for.
      guard sign != "=" || number > 0 else { continue }
      text.append(UInt8(ascii: " "))
      let hash = String(stream.wideHash, radix: 16)
      text += "\(hash)\(sign)\(number)".utf8
    }
    return text
  }

  /// Parses a text after the append has replaced the mark.
  /// - Returns: The streams; nil for any other text.
  package static func parse(_ text: some StringProtocol) -> [(hash: UInt64, position: Position)]? {
    let words = text.split(separator: " ")
    guard let base = words.first.flatMap({ Int64($0) }) else { return nil }
    var streams: [(hash: UInt64, position: Position)] = []
    for word in words.dropFirst() {
      guard let place = word.firstIndex(where: { "+-=".contains($0) }), let hash = UInt64(word[..<place], radix: 16),
        let number = Int64(word[word.index(after: place)...])
      else { return nil }
      switch word[place] {
      case "+": streams.append((hash, Position(base + number)))
      case "-": streams.append((hash, Position(base - number)))
      default: streams.append((hash, Position(number)))
      }
    }
    return streams
  }
}
