internal import EventSourcing
internal import JSON

/// Reads the members of an object, and collects all errors instead of stopping at the first.
struct FieldReader {
  private let json: JSON
  private let pointer: String
  private var known: [String] = []
  private(set) var errors: [Rejection.FieldError] = []

  init(_ json: JSON, at pointer: String = "") {
    self.json = json
    self.pointer = pointer
    if json.members == nil {
      errors.append(Rejection.FieldError(pointer: pointer, detail: "must be an object, and is \(json.kind)"))
    }
  }

  /// Whether the member exists and is not null.
  func has(_ name: String) -> Bool { json[name].map { !$0.isNull } ?? false }

  /// Returns the errors, including one for every unknown member.
  consuming func finish() -> [Rejection.FieldError] {
    for member in json.members ?? [] where !known.contains(member.name) {
      fail(member.name, "is not known here; allowed: \(known.sorted().joined(separator: ", "))")
    }
    return errors
  }

  mutating func fail(_ name: String, _ detail: String) {
    errors.append(Rejection.FieldError(pointer: "\(pointer)/\(Self.escape(name))", detail: detail))
  }

  mutating func adopt(_ errors: [Rejection.FieldError]) { self.errors += errors }

  /// Returns the member. null counts as absent.
  private mutating func value(_ name: String, isRequired: Bool) -> JSON? {
    known.append(name)
    guard let value = json[name], !value.isNull else {
      if isRequired && json.members != nil { fail(name, "is required") }
      return nil
    }
    return value
  }

  /// - Parameter problem: returns what is wrong with the text, or nil if it is valid.
  mutating func text(_ name: String, isRequired: Bool = true, problem: (String) -> String?) -> String? {
    guard let value = value(name, isRequired: isRequired) else { return nil }
    guard let text = value.string else {
      fail(name, "must be a string, and is \(value.kind)")
      return nil
    }
    if let problem = problem(text) {
      fail(name, problem)
      return nil
    }
    return text
  }

  /// Reads a text of this length, in Unicode scalars (one visible letter can be several). If the lower bound is above
  /// 0, white space alone is an error.
  mutating func text(_ name: String, isRequired: Bool = true, length: ClosedRange<Int>) -> String? {
    text(name, isRequired: isRequired) { text in
      if length.lowerBound > 0 && text.allSatisfy(\.isWhitespace) { return "must not be empty" }
      return length.contains(text.unicodeScalars.count) ? nil : "must have at most \(length.upperBound) characters"
    }
  }

  mutating func boolean(_ name: String) -> Bool? {
    guard let value = value(name, isRequired: false) else { return nil }
    guard case .boolean(let boolean) = value else {
      fail(name, "must be true or false, and is \(value.kind)")
      return nil
    }
    return boolean
  }

  mutating func integer(_ name: String, isRequired: Bool = true, in range: ClosedRange<Int64>) -> Int64? {
    guard let value = value(name, isRequired: isRequired) else { return nil }
    guard let integer = value.wholeNumber else {
      fail(
        name, "must be a whole number from \(range.lowerBound) to \(range.upperBound), and is \(Self.describe(value))")
      return nil
    }
    guard range.contains(integer) else {
      fail(name, "must be from \(range.lowerBound) to \(range.upperBound), and is \(integer)")
      return nil
    }
    return integer
  }

  mutating func array(_ name: String, count: ClosedRange<Int>) -> [JSON]? {
    guard let value = value(name, isRequired: true) else { return nil }
    guard let elements = value.array else {
      fail(name, "must be an array, and is \(value.kind)")
      return nil
    }
    guard count.contains(elements.count) else {
      fail(name, "must have \(count.lowerBound) to \(count.upperBound) elements, and has \(elements.count)")
      return nil
    }
    return elements
  }

  private static func describe(_ value: JSON) -> String {
    if case .number(let number) = value { "\(number)" } else { value.kind }
  }

  private static func escape(_ name: String) -> String {
    name.replacing("~", with: "~0").replacing("/", with: "~1")
  }
}
