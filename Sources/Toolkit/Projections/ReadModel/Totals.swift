public import EventSourcing

/// Sums, counts, minima and maxima over the rows of all streams, for each group.
///
///     Totals(
///       "statement_days", by: [.day("day", \.at)],
///       [.count("entries"), .sum("paid_in", \.amount), .range("balance", \.balance)])
///
/// The table has one row per partition and group, so that workers do not wait for one another; queries add up over
/// the partitions. Its columns are the groups' columns, `partition`, and a bigint column for each sum and count.
///
/// The minimum and maximum of a measure come from a separate table, `NAME_MEASURE`. It has one row for each `value`
/// in a group, with the number `n` of elements that have it. So both stay correct when the element with the maximum
/// goes.
public struct Totals<Row: Sendable>: Sendable {
  @usableFromInline package let name: String
  /// The tables that it needs.
  @usableFromInline package let tables: [TotalsTable<Row>]

  /// Creates totals over the rows themselves.
  @inlinable
  public init(_ name: String, by groups: [Group<Row>], _ measures: [Measure<Row>]) {
    self.init(name, of: { [$0] }, by: groups, measures)
  }

  /// Creates totals over elements of the rows, such as the entries of a statement.
  /// - Parameters:
  ///   - name: has the same form as a read model's name.
  ///   - elements: returns a row's elements; empty if the row does not count.
  ///   - groups: the columns that the elements are grouped by.
  ///   - measures: what is kept for each group.
  // Inlinable, so that the work for each row is specialized for its types.
  @inlinable
  public init<Element>(
    _ name: String, of elements: @escaping @Sendable (Row) -> [Element], by groups: [Group<Element>],
    _ measures: [Measure<Element>]
  ) {
    let keys = groups.map { (name: $0.name, type: $0.type) }
    let sums = measures.filter { $0.extreme == nil }
    var tables: [TotalsTable<Row>] = []
    if !sums.isEmpty {
      tables.append(
        TotalsTable(name, keys: keys, sums: sums.map { $0.name }) { row in
          elements(row).map { element in
            TotalsContribution(groups.map { $0.value(element) }, sums.map { $0.amount(element) })
          }
        })
    }
    for measure in measures {
      guard let extreme = measure.extreme else { continue }
      tables.append(
        TotalsTable("\(name)_\(measure.name)", keys: keys + [(name: "value", type: extreme.type)], sums: ["n"]) { row in
          elements(row).map { element in
            TotalsContribution(groups.map { $0.value(element) } + [extreme.value(element)], [1])
          }
        })
    }
    (self.name, self.tables) = (name, tables)
  }
}

/// A column that totals are grouped by.
public struct Group<Element>: Sendable {
  @usableFromInline let name: String
  /// The PostgreSQL type.
  @usableFromInline let type: String
  /// The value as text.
  @usableFromInline let value: @Sendable (Element) -> String

  /// Groups by a text.
  /// - Parameters:
  ///   - name: The name of the column, and of the member in answers.
  ///   - value: Returns the text of an element.
  public static func text(_ name: String, _ value: @escaping @Sendable (Element) -> String) -> Group {
    Group(name: name, type: "text", value: value)
  }

  /// Groups by a whole number.
  /// - Parameters:
  ///   - name: The name of the column, and of the member in answers.
  ///   - value: Returns the number of an element.
  public static func integer(_ name: String, _ value: @escaping @Sendable (Element) -> Int64) -> Group {
    Group(name: name, type: "bigint") { String(value($0)) }
  }

  /// Groups by the UTC day of a time, as PostgreSQL's type `date`.
  public static func day(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date }
  }

  /// Groups by the first day of the UTC month.
  public static func month(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date.prefix(8) + "01" }
  }

  /// Groups by the first day of the UTC year.
  public static func year(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date.prefix(5) + "01-01" }
  }
}

/// A count, sum or range over the elements of a group.
public struct Measure<Element>: Sendable {
  @usableFromInline let name: String
  /// The amount that an element adds.
  @usableFromInline let amount: @Sendable (Element) -> Int64
  /// For a range: the PostgreSQL type, and the value as text.
  @usableFromInline let extreme: (type: String, value: @Sendable (Element) -> String)?

  /// Counts the elements.
  /// - Parameter name: The name of the column, and of the member in answers.
  public static func count(_ name: String) -> Measure { Measure(name: name, amount: { _ in 1 }, extreme: nil) }

  /// Adds up an amount. If the sum does not fit in 64 bits, the event fails and its stream is parked.
  public static func sum(_ name: String, _ amount: @escaping @Sendable (Element) -> Int64) -> Measure {
    Measure(name: name, amount: amount, extreme: nil)
  }

  /// The minimum and the maximum.
  public static func range(_ name: String, _ value: @escaping @Sendable (Element) -> Int64) -> Measure {
    Measure(name: name, amount: { _ in 1 }, extreme: ("bigint", { String(value($0)) }))
  }

  /// The earliest and the latest.
  public static func range(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Measure {
    Measure(name: name, amount: { _ in 1 }, extreme: ("timestamptz", { time($0).fullDescription }))
  }
}
