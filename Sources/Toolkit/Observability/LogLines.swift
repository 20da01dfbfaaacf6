internal import Foundation

/// The output of a `StreamLogHandler`: one line per entry, on standard error. Characters that would start another line,
/// or move a terminal's cursor, are escaped.
package struct LogLines: TextOutputStream, Sendable {
  private let write: @Sendable ([UInt8]) -> Void

  /// - Parameter write: takes a whole line, with its newline.
  package init(write: @escaping @Sendable ([UInt8]) -> Void = JSONLogHandler.writeToStandardError) {
    self.write = write
  }

  /// - Parameter entry: a whole entry, as the handler passes it.
  package func write(_ entry: String) {
    var line: [UInt8] = []
    line.reserveCapacity(entry.utf8.count + 8)
    let scalars = entry.unicodeScalars
    for scalar in scalars.last == "\n" ? scalars.dropLast() : scalars[...] {
      switch scalar {
      case "\t": line += " ".utf8
      case "\n": line += "\\n".utf8
      case "\r": line += "\\r".utf8
      case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
        line += "\\u{\(String(scalar.value, radix: 16))}".utf8
      default: line += String(scalar).utf8
      }
    }
    write(line + "\n".utf8)
  }
}
