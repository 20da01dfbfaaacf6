internal import Crypto
internal import EventSourcing
package import Foundation
internal import JSON

/// What an archive file says about itself in its first line. docs/archive.md describes the format.
package struct ArchiveHeader: Sendable, Hashable {
  /// The history id of the store when the file was written.
  package let historyID: UUID
  /// The positions of the first and the last event.
  package let first: Int64
  package let last: Int64

  static let format = "counterflow-events"
  static let formatVersion: Int64 = 1

  package init(historyID: UUID, first: Int64, last: Int64) {
    (self.historyID, self.first, self.last) = (historyID, first, last)
  }

  package var count: Int64 { last - first + 1 }

  var line: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("format", Self.format)
      json.member("formatVersion", Self.formatVersion)
      json.member("historyId", historyID.uuidString.lowercased())
      json.member("first", first)
      json.member("last", last)
    }
    return json.bytes + [0x0A]
  }

  /// Returns the name of the file. Files with different content have different names.
  func fileName(_ sha256: String) -> String {
    func digits(_ position: Int64) -> String {
      let text = String(position)
      return String(repeating: "0", count: 19 - text.count) + text
    }
    return "events-\(digits(first))-\(digits(last))-\(sha256.prefix(16)).ndjson"
  }
}

/// A file of the archive is damaged, or is another one than the store recorded.
package struct DamagedArchive: Error, CustomStringConvertible {
  package let description: String

  init(_ url: URL, _ reason: String) { description = "the archive file \(url.path) cannot be used: \(reason)" }
}

/// Writes an archive file. Nothing is durable before `finish` returns.
struct ArchiveWriter {
  let url: URL
  private let header: ArchiveHeader
  private let file: FileHandle
  private var hash = SHA256()
  private var next: Int64

  /// Creates the file, or empties the one that an interrupted attempt left.
  init(_ url: URL, _ header: ArchiveHeader) throws {
    (self.url, self.header, next) = (url, header, header.first)
    try Data().write(to: url)
    file = try FileHandle(forWritingTo: url)
    try write(header.line)
  }

  /// Writes the next events, each as a line without its end.
  mutating func write(_ lines: [(position: Int64, line: [UInt8])]) throws {
    var bytes: [UInt8] = []
    for (position, line) in lines {
      guard position == next else { throw DamagedArchive(url, "the store has no event at position \(next)") }
      next += 1
      bytes += line
      bytes.append(0x0A)
    }
    try write(bytes)
  }

  /// Writes the last line, and waits until the file is on the disk.
  /// - Returns: the SHA-256 of the whole file.
  mutating func finish() throws -> String {
    guard next == header.last + 1 else { throw DamagedArchive(url, "the store has no event at position \(next)") }
    try write(trailer(header.count, hash))
    try file.synchronize()
    try file.close()
    return hash.finalize().hexadecimal
  }

  private mutating func write(_ bytes: [UInt8]) throws {
    hash.update(data: bytes)
    try file.write(contentsOf: Data(bytes))
  }
}

/// Reads an archive file, and checks all of it.
struct ArchiveReader {
  /// The most lines, and about the most bytes, that are in memory at once.
  private static let most = (lines: 500, bytes: 8 * 1024 * 1024)
  private static let chunk = 1024 * 1024

  let url: URL
  let header: ArchiveHeader
  let sha256: String

  /// Calls `body` with the lines of the events, in order. What it was given counts only if this function returns.
  /// - Throws: `DamagedArchive` if the file is not the expected one, or is incomplete.
  func read(_ body: ([[UInt8]]) async throws -> Void) async throws {
    let file = try FileHandle(forReadingFrom: url)
    defer { try? file.close() }
    var (whole, events) = (SHA256(), SHA256())
    var (rest, page, pageBytes, count) = ([UInt8](), [[UInt8]](), 0, Int64(-1))
    // The last line is not an event's.
    var held: [UInt8]?
    while let data = try file.read(upToCount: Self.chunk), !data.isEmpty {
      whole.update(data: data)
      rest += data
      var start = 0
      while let end = rest[start...].firstIndex(of: 0x0A) {
        if let line = held {
          events.update(data: line + [0x0A])
          if count < 0 {
            guard line + [0x0A] == header.line else { throw DamagedArchive(url, "its first line is another one") }
          } else {
            page.append(line)
            pageBytes += line.count
          }
          count += 1
        }
        held = Array(rest[start..<end])
        start = end + 1
        if page.count >= Self.most.lines || pageBytes >= Self.most.bytes {
          try await body(page)
          (page, pageBytes) = ([], 0)
        }
      }
      rest.removeFirst(start)
    }
    guard rest.isEmpty, count == header.count, let held, held + [0x0A] == trailer(count, events) else {
      throw DamagedArchive(url, "it does not have the events \(header.first) to \(header.last)")
    }
    guard whole.finalize().hexadecimal == sha256 else { throw DamagedArchive(url, "its SHA-256 is not \(sha256)") }
    if !page.isEmpty { try await body(page) }
  }
}

/// Returns the last line.
/// - Parameter hash: of everything before it.
private func trailer(_ count: Int64, _ hash: SHA256) -> [UInt8] {
  var json = JSONWriter()
  json.object { json in
    json.member("count", count)
    json.member("sha256", hash.finalize().hexadecimal)
  }
  return json.bytes + [0x0A]
}

extension SHA256.Digest {
  fileprivate var hexadecimal: String {
    map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
