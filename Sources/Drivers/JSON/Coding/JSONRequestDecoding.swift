/// All mistakes in a value.
public struct JSONDecodingErrors: Error, Sendable, Hashable, CustomStringConvertible {
  /// At least one mistake, in the order in which they were found.
  public let all: [JSONDecodingError]

  public var description: String { all.map(\.description).joined(separator: "; ") }
}

extension JSON {
  /// Reads a value from a client and reports all mistakes at once, up to 50. Unlike `decode`, it rejects members that
  /// the type does not read.
  ///
  /// An example replaces each value that is missing or wrong, so that the type's `init(from:)` continues. A type that
  /// accepts none of a few examples ends the search.
  /// - Parameters:
  ///   - type: the type to read.
  ///   - given: members from outside the value. The value must not have them, and the type need not read them.
  public func decodeRequest<Value: Decodable>(
    _ type: Value.Type = Value.self, given: [JSON.Member] = []
  ) throws(JSONDecodingErrors) -> Value {
    let findings = JSONFindings()
    guard case .object(let members) = self else {
      throw JSONDecodingErrors(all: [JSONDecodingError(pointer: "", reason: "must be an object, not \(kind)")])
    }
    for member in members where given.contains(where: { $0.name == member.name }) {
      findings.add(JSONDecodingError(at: [member.name], "is not for the body to say; leave it out"))
    }
    let known = members.filter { member in !given.contains { $0.name == member.name } }
    let decoding = JSONDecoding(.object(known + given), findings: findings)
    // Needed for a type without members, which reads nothing.
    findings.objects.append((decoding, Set(given.map(\.name))))
    do {
      let value: Value = try decoding.decode()
      findings.addUnknownMembers()
      if findings.errors.isEmpty { return value }
    } catch is JSONFindings.CannotGoOn {} catch { findings.add(JSONDecodingError(any: error)) }
    throw JSONDecodingErrors(all: findings.errors)
  }
}

/// The mistakes found while a value is read, by one task.
final class JSONFindings {
  /// The mistake is recorded, but there is no example to continue with, or the limit is reached.
  struct CannotGoOn: Error {}

  /// The maximum number of mistakes. Nobody reads more, and each is compared with the others.
  private static let most = 50

  private(set) var errors: [JSONDecodingError] = []
  /// The objects that were read, and the member names that were asked for.
  fileprivate(set) var objects: [(decoding: JSONDecoding, asked: Set<String>)] = []

  func add(_ error: JSONDecodingError) {
    if errors.count < Self.most, !errors.contains(error) { errors.append(error) }
  }

  func asked(_ name: String, of decoding: JSONDecoding) {
    if let index = objects.lastIndex(where: { $0.decoding === decoding }) {
      objects[index].asked.insert(name)
    } else {
      objects.append((decoding, [name]))
    }
  }

  /// Records a mistake, and returns an example to continue with.
  func example<Value: Decodable>(for error: any Error, _ type: Value.Type) throws(CannotGoOn) -> Value {
    if !(error is CannotGoOn) { add(JSONDecodingError(any: error)) }
    guard errors.count < Self.most, let value = JSONProbe.probe(type).value else { throw CannotGoOn() }
    return value
  }

  fileprivate func addUnknownMembers() {
    for (decoding, asked) in objects {
      for member in decoding.value.members ?? [] where !asked.contains(member.name) {
        let allowed = asked.isEmpty ? "none" : asked.sorted().joined(separator: ", ")
        add(decoding.error("is not known here; allowed: \(allowed)", at: MemberName(member.name)))
      }
    }
  }
}
