public import Logging
internal import Synchronization

/// Records log entries for a test.
public final class LogRecorder: Sendable {
  private let entries = Mutex<[String]>([])

  public init() {}

  /// The entries, each as "level message key=value …" with the metadata sorted by key.
  public var lines: [String] { entries.withLock { $0 } }

  public var logger: Logger { Logger(label: "recorded") { _ in Handler(recorder: self) } }

  private struct Handler: LogHandler {
    let recorder: LogRecorder
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(recorder: LogRecorder) { self.recorder = recorder }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let all = metadata.merging(event.metadata ?? [:]) { $1 }
      let line =
        (["\(event.level)", "\(event.message)"] + all.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })
        .joined(separator: " ")
      recorder.entries.withLock { $0.append(line) }
    }
  }
}
