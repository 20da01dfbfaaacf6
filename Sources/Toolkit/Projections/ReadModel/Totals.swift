public import EventSourcing

/// What rows add up to, over all streams: sums and counts, the smallest and the largest, for each group.
///
///     Totals("sales_days", by: [.day("day", \.placedAt)], [.count("orders"), .sum("gross", \.total), .range("largest", \.total)])
///
/// Of each partition of the read model there is a row for each group, so that workers do not wait for one another: queries add
/// up over the partitions. The table has the groups' columns, `partition`, and a column of type bigint for each sum and count. The
/// smallest and largest of a measure come from a table of their own, `NAME_MEASURE`, which has a row for each `value` in a group,
/// and how many elements have it, `n`: so they are right also after an element that was the largest has gone.
public struct Totals<Row: Sendable>: Sendable {
  @usableFromInline package let name: String
  /// The tables that it takes.
  @usableFromInline package let tables: [TotalsTable<Row>]

  /// Totals of the rows themselves.
  @inlinable
  public init(_ name: String, by groups: [Group<Row>], _ measures: [Measure<Row>]) {
    self.init(name, of: { [$0] }, by: groups, measures)
  }

  /// Totals of what rows consist of, such as the lines of orders.
  /// - Parameters:
  ///   - name: as a read model's.
  ///   - elements: of a row; none where the row does not count.
  // Inlinable, so that what is done for each row is compiled for its types.
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

/// What totals are formed by.
public struct Group<Element>: Sendable {
  @usableFromInline let name: String
  /// The PostgreSQL type.
  @usableFromInline let type: String
  /// As text.
  @usableFromInline let value: @Sendable (Element) -> String

  public static func text(_ name: String, _ value: @escaping @Sendable (Element) -> String) -> Group {
    Group(name: name, type: "text", value: value)
  }

  public static func integer(_ name: String, _ value: @escaping @Sendable (Element) -> Int64) -> Group {
    Group(name: name, type: "bigint") { String(value($0)) }
  }

  /// The UTC day of a time, of PostgreSQL's type date.
  public static func day(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date }
  }

  /// The first day of the UTC month.
  public static func month(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date.prefix(8) + "01" }
  }

  /// The first day of the UTC year.
  public static func year(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Group {
    Group(name: name, type: "date") { time($0).date.prefix(5) + "01-01" }
  }
}

/// What is counted, added up or compared.
public struct Measure<Element>: Sendable {
  @usableFromInline let name: String
  /// What an element adds.
  @usableFromInline let amount: @Sendable (Element) -> Int64
  /// Where the smallest or largest is wanted: the type, and the value as text.
  @usableFromInline let extreme: (type: String, value: @Sendable (Element) -> String)?

  public static func count(_ name: String) -> Measure { Measure(name: name, amount: { _ in 1 }, extreme: nil) }

  /// A sum that does not fit in 64 bits is refused: the event's stream is parked.
  public static func sum(_ name: String, _ amount: @escaping @Sendable (Element) -> Int64) -> Measure {
    Measure(name: name, amount: amount, extreme: nil)
  }

  /// The smallest and the largest.
  public static func range(_ name: String, _ value: @escaping @Sendable (Element) -> Int64) -> Measure {
    Measure(name: name, amount: { _ in 1 }, extreme: ("bigint", { String(value($0)) }))
  }

  /// The earliest and the latest.
  public static func range(_ name: String, _ time: @escaping @Sendable (Element) -> Timestamp) -> Measure {
    Measure(name: name, amount: { _ in 1 }, extreme: ("timestamptz", { time($0).fullDescription }))
  }
}
