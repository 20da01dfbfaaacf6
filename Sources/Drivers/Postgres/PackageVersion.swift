/// A version of this package: three numbers, and `-dev` between two releases.
///
/// `0.2.0-dev` is what becomes `0.2.0`, and comes before it.
public struct PackageVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// The version that this build is made of. The file VERSION says the same; `scripts/check-docs` compares them.
  public static let current = PackageVersion("0.1.0-dev")!  // It has the form that `init` demands.

  private let numbers: [Int]
  private let isReleased: Bool

  /// Reads a version.
  /// - Parameter text: such as `1.20.3` or `1.20.3-dev`; nil is returned for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    let numbers = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    let values = numbers.compactMap { number in number.allSatisfy(\.isNumber) ? Int(number) : nil }
    guard values.count == 3, numbers.count == 3, parts.count == 1 || parts[1] == "dev" else { return nil }
    (self.numbers, isReleased) = (values, parts.count == 1)
  }

  public var description: String {
    numbers.map(String.init).joined(separator: ".") + (isReleased ? "" : "-dev")
  }

  public static func < (one: PackageVersion, other: PackageVersion) -> Bool {
    if one.numbers != other.numbers { return one.numbers.lexicographicallyPrecedes(other.numbers) }
    return !one.isReleased && other.isReleased
  }
}
