internal import Configuration
internal import Foundation

/// A setting, read from the environment variable of its name, or from the file that `NAME_FILE` names.
public struct Setting<Value: Sendable>: Sendable {
  /// The environment variable.
  public let name: String
  /// As one would write it; nil when the variable must be given.
  public let defaultText: String?
  /// What values are allowed, in words.
  public let allowed: String
  public let help: String
  /// Never shown in messages.
  public let isSecret: Bool
  let parse: @Sendable (String) -> Value?

  public init(
    _ name: String, default defaultText: String?, allowed: String, help: String, isSecret: Bool = false,
    parse: @escaping @Sendable (String) -> Value?
  ) {
    self.name = name
    self.defaultText = defaultText
    self.allowed = allowed
    self.help = help
    self.isSecret = isSecret
    self.parse = parse
  }

  public var description: SettingDescription {
    SettingDescription(name: name, defaultText: defaultText, allowed: allowed, help: help)
  }
}

/// A setting without its type: what the documentation says of it.
public struct SettingDescription: Sendable, Hashable {
  public let name: String
  public let defaultText: String?
  public let allowed: String
  public let help: String
}

/// A setting that is missing or wrong, named with what is allowed.
public struct SettingError: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init<Value>(_ setting: Setting<Value>, _ problem: String) {
    description = "\(setting.name) \(problem); allowed: \(setting.allowed)"
  }
}

/// Reads settings from the environment.
public struct Settings: Sendable {
  private let reader: ConfigReader

  /// The process's own environment.
  public init() { reader = ConfigReader(provider: EnvironmentVariablesProvider()) }

  public init(_ variables: [String: String]) {
    reader = ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: variables))
  }

  /// - Throws: `SettingError` with the variable's name and what is allowed.
  public subscript<Value>(_ setting: Setting<Value>) -> Value {
    get throws(SettingError) {
      guard let text = try text(of: setting) ?? setting.defaultText else { throw SettingError(setting, "is not set") }
      guard let value = setting.parse(text) else {
        throw SettingError(setting, setting.isSecret ? "is not valid" : "is '\(text)'")
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

  /// An empty variable counts as one that is not set, as compose files write it.
  private func variable(_ name: String, isSecret: Bool) -> String? {
    let key = ConfigKey(name.lowercased().split(separator: "_").map(String.init))
    let text = reader.string(forKey: key, isSecret: isSecret)
    return text?.isEmpty == true ? nil : text
  }
}
