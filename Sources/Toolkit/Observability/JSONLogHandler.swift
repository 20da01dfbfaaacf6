internal import Foundation
internal import JSON
package import Logging
internal import Machine

/// Writes each log message to standard error as one line of JSON: `time`, `level`, `logger`, `message`, and the members
/// of the metadata.
package struct JSONLogHandler: LogHandler {
  package var logLevel = Logger.Level.info
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?
  private let label: String
  private let write: @Sendable ([UInt8]) -> Void

  /// - Parameter write: takes a whole line, with its newline.
  package init(
    label: String, metadataProvider: Logger.MetadataProvider? = nil,
    write: @escaping @Sendable ([UInt8]) -> Void = JSONLogHandler.writeToStandardError
  ) {
    self.label = label
    self.metadataProvider = metadataProvider
    self.write = write
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var all = metadataProvider?.get() ?? [:]
    all.merge(metadata) { $1 }
    if let own = event.metadata { all.merge(own) { $1 } }
    if let error = event.error { all["error"] = "\(error)" }
    var members: [JSON.Member] = [
      .init("time", .string(Machine.date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))),
      .init("level", .string(event.level.rawValue)), .init("logger", .string(label)),
      .init("message", .string(event.message.description)),
    ]
    let taken = Set(members.map(\.name))
    for (key, value) in all.sorted(by: { $0.key < $1.key }) {
      members.append(.init(taken.contains(key) ? key + "_" : key, Self.json(value)))
    }
    write(JSON.object(members).encoded + [UInt8(ascii: "\n")])
  }

  private static func json(_ value: Logger.Metadata.Value) -> JSON {
    switch value {
    case .string(let text): .string(text)
    case .stringConvertible(let value): .string(value.description)
    case .array(let values): .array(values.map(json))
    case .dictionary(let values):
      .object(values.sorted { $0.key < $1.key }.map { JSON.Member($0.key, json($0.value)) })
    }
  }

  /// Writes a line in one call, so that lines of several threads do not mix. Ignores errors: there is nowhere left to
  /// report them.
  package static func writeToStandardError(_ line: [UInt8]) {
    try? FileHandle.standardError.write(contentsOf: Data(line))
  }
}
