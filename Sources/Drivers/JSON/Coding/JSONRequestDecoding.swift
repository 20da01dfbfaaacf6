/// All that is wrong with a value.
public struct JSONDecodingErrors: Error, Sendable, Hashable, CustomStringConvertible {
  /// One at least; in the order in which they were found.
  public let all: [JSONDecodingError]

  public var description: String { all.map(\.description).joined(separator: "; ") }
}

extension JSON {
  /// Reads a value that somebody wrote who wants to hear of all mistakes, or 50 of them, at once. Unlike `decode` it refuses
  /// members that the type does not ask for.
  ///
  /// Whatever is missing or wrong is replaced by an example, so that the type's `init(from:)` goes on; a type that takes none of
  /// a few ends the search.
  /// - Parameter given: members beside the value's own, which it may not have then, and the type need not ask for.
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
    // Also of a type without members, which asks for nothing.
    findings.objects.append((decoding, Set(given.map(\.name))))
    do {
      let value: Value = try decoding.decode()
      findings.addUnknownMembers()
      if findings.errors.isEmpty { return value }
    } catch is JSONFindings.CannotGoOn {} catch { findings.add(JSONDecodingError(any: error)) }
    throw JSONDecodingErrors(all: findings.errors)
  }
}

/// What is wrong with a value as it is read; of one task.
final class JSONFindings {
  /// What is wrong was noted, and there is no example to go on with, or there is enough.
  struct CannotGoOn: Error {}

  /// Nobody reads more, and each is compared with the others.
  private static let most = 50

  private(set) var errors: [JSONDecodingError] = []
  /// The objects that were read, with the members that were asked for.
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

  /// Notes what is wrong, and gives an example to go on with.
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
