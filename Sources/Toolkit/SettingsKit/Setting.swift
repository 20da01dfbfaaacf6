internal import Configuration
internal import Foundation

/// A setting, read from the environment variable `NAME`, or from the file that the variable `NAME_FILE` names.
public struct Setting<Value: Sendable>: Sendable {
  /// The environment variable.
  public let name: String
  /// The default in text form; nil if the variable must be set.
  public let defaultText: String?
  /// The allowed values, in words.
  public let allowed: String
  /// What it sets, for the documentation.
  public let help: String
  /// Whether messages must not show the value.
  public let isSecret: Bool
  let parse: @Sendable (String) throws -> Value?

  /// Creates a setting.
  /// - Parameters:
  ///   - name: The name of the environment variable.
  ///   - defaultText: The default in text form; nil if the variable must be set.
  ///   - allowed: The allowed values, in words.
  ///   - help: What it sets, for the documentation.
  ///   - isSecret: Whether messages must not show the value.
  ///   - parse: Returns the value of a text. If the text is not allowed, it returns nil, or throws an error that says why and
  ///     does not contain a secret.
  public init(
    _ name: String, default defaultText: String?, allowed: String, help: String, isSecret: Bool = false,
    parse: @escaping @Sendable (String) throws -> Value?
  ) {
    self.name = name
    self.defaultText = defaultText
    self.allowed = allowed
    self.help = help
    self.isSecret = isSecret
    self.parse = parse
  }

  /// The setting without its value type.
  public var description: SettingDescription {
    SettingDescription(name: name, defaultText: defaultText, allowed: allowed, help: help)
  }
}

/// A setting without its value type, for the documentation.
public struct SettingDescription: Sendable, Hashable {
  /// The name of the environment variable.
  public let name: String
  /// The default in text form; nil if the variable must be set.
  public let defaultText: String?
  /// The allowed values, in words.
  public let allowed: String
  /// What it sets.
  public let help: String
}

/// A setting is missing or invalid; the description names it and the allowed values.
public struct SettingError: Error, Sendable, CustomStringConvertible {
  public let description: String

  /// Creates an error.
  /// - Parameters:
  ///   - setting: The setting.
  ///   - problem: What is wrong with it; it follows the setting's name, such as `is not set`.
  public init<Value>(_ setting: Setting<Value>, _ problem: String) {
    description = "\(setting.name) \(problem); allowed: \(setting.allowed)"
  }
}

/// Reads settings from the environment.
public struct Settings: Sendable {
  private let reader: ConfigReader

  /// Reads the environment of this process.
  public init() { reader = ConfigReader(provider: EnvironmentVariablesProvider()) }

  /// Reads the given variables instead of the environment of this process.
  public init(_ variables: [String: String]) {
    reader = ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: variables))
  }

  /// The value of a setting, or its default.
  /// - Throws: `SettingError` with the variable's name and the allowed values.
  public subscript<Value>(_ setting: Setting<Value>) -> Value {
    get throws(SettingError) {
      guard let text = try text(of: setting) ?? setting.defaultText else { throw SettingError(setting, "is not set") }
      let (value, reason): (Value?, String)
      do { (value, reason) = (try setting.parse(text), "") } catch { (value, reason) = (nil, " (\(error))") }
      guard let value else {
        throw SettingError(setting, (setting.isSecret ? "is not valid" : "is '\(text)'") + reason)
      }
      return value
    }
  }

  private func text<Value>(of setting: Setting<Value>) throws(SettingError) -> String? {
    if let text = variable(setting.name, isSecret: setting.isSecret) { return text }
    guard let path = variable(setting.name + "_FILE", isSecret: false) else { return nil }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw SettingError(setting, "cannot be read from the file \(path)")
    }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// An empty variable counts as not set, because compose files pass an unset variable as an empty one.
  private func variable(_ name: String, isSecret: Bool) -> String? {
    let key = ConfigKey(name.lowercased().split(separator: "_").map(String.init))
    let text = reader.string(forKey: key, isSecret: isSecret)
    return text?.isEmpty == true ? nil : text
  }
}
