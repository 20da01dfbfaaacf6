/// The samples of a process's `/metrics`.
package struct Exposition: Sendable {
  package struct Sample: Sendable {
    package let name: String
    package let labels: [String: String]
    package let value: Double
  }

  package private(set) var samples: [Sample] = []

  /// Reads the text; lines that are not samples are skipped.
  package init(_ text: String) {
    for line in text.split(separator: "\n") where line.first != "#" {
      guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else { continue }
      let head = line[..<space]
      let name = head.prefix { $0 != "{" }
      samples.append(
        Sample(name: String(name), labels: Self.labels(head.dropFirst(name.count).dropFirst().dropLast()), value: value)
      )
    }
  }

  package init() {}

  /// Returns the sum of all samples of that name whose labels `isWanted` accepts.
  /// - Returns: nil if there is no such sample.
  package func sum(_ name: String, where isWanted: ([String: String]) -> Bool = { _ in true }) -> Double? {
    let wanted = samples.filter { $0.name == name && isWanted($0.labels) }.map(\.value)
    return wanted.isEmpty ? nil : wanted.reduce(0, +)
  }

  private static func labels(_ text: Substring) -> [String: String] {
    var labels: [String: String] = [:]
    var rest = text
    while let equals = rest.firstIndex(of: "=") {
      let name = String(rest[..<equals])
      var value = ""
      var index = rest.index(equals, offsetBy: 2, limitedBy: rest.endIndex) ?? rest.endIndex
      while index < rest.endIndex, rest[index] != "\"" {
        if rest[index] == "\\" {
          index = rest.index(after: index)
          guard index < rest.endIndex else { break }
          value.append(rest[index] == "n" ? "\n" : rest[index])
        } else {
          value.append(rest[index])
        }
        index = rest.index(after: index)
      }
      labels[name] = value
      rest = rest[index...].dropFirst(2)
    }
    return labels
  }
}
