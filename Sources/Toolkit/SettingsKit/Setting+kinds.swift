public import Logging
internal import Postgres

extension Setting<Int> {
  /// A setting whose value is a whole number.
  /// - Parameters:
  ///   - name: The name of the environment variable.
  ///   - value: The default.
  ///   - range: The allowed values.
  ///   - help: What it sets, for the documentation.
  public static func integer(
    _ name: String, default value: Int, in range: ClosedRange<Int>, help: String
  ) -> Setting<Int> {
    Setting(
      name, default: String(value), allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)",
      help: help
    ) { Int($0).flatMap { range.contains($0) ? $0 : nil } }
  }
}

extension Setting<Duration> {
  /// A setting whose value is a duration.
  /// - Parameters:
  ///   - name: The name of the environment variable.
  ///   - value: The default, in seconds.
  ///   - range: The allowed values, in seconds.
  ///   - help: What it sets, for the documentation.
  public static func seconds(
    _ name: String, default value: Double, in range: ClosedRange<Double>, help: String
  ) -> Setting<Duration> {
    Setting(
      name, default: value.formattedPlain,
      allowed: "seconds from \(range.lowerBound.formattedPlain) to \(range.upperBound.formattedPlain)", help: help
    ) { text in
      guard let seconds = Double(text), range.contains(seconds) else { return nil }
      return .milliseconds(Int64((seconds * 1000).rounded()))
    }
  }
}

extension Setting<String?> {
  /// A text that may be absent; `none` stands for no value.
  public static func optional(_ name: String, allowed: String, help: String, isSecret: Bool = false) -> Setting<String?>
  {
    Setting(name, default: "none", allowed: allowed, help: help, isSecret: isSecret) { text in
      .some(text == "none" ? nil : text)
    }
  }
}

extension Setting<String> {
  /// A PostgreSQL URL. It may contain a password.
  public static func postgresURL(_ name: String, help: String) -> Setting<String> {
    Setting(
      name, default: nil, allowed: "a URL such as postgres://user:password@host:5432/database", help: help,
      isSecret: true
    ) { text in
      let isURL = ["postgres://", "postgresql://"].contains { text.hasPrefix($0) }
      return isURL && PostgresConfiguration.problem(withURL: text) == nil ? text : nil
    }
  }
}

extension Setting<Logger.Level> {
  /// `LOG_LEVEL`: the lowest level that is logged.
  public static let logLevel = Setting(
    "LOG_LEVEL", default: "info", allowed: Logger.Level.allCases.map(\.rawValue).joined(separator: ", "),
    help: "The lowest log level that is written to standard error."
  ) { Logger.Level(rawValue: $0) }
}

extension Double {
  fileprivate var formattedPlain: String { self == rounded() ? String(Int(self)) : String(self) }
}
