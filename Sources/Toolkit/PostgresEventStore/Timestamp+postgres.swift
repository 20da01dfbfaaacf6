public import EventSourcing
public import Postgres

extension Timestamp {
  /// Creates a timestamp from a column's value. Both count microseconds.
  public init(_ time: PostgresTimestamp) { self.init(microsecondsSince1970: time.microsecondsSince1970) }
}

extension PostgresTimestamp {
  /// Creates a column's value from a timestamp. Both count microseconds.
  public init(_ time: Timestamp) { self.init(microsecondsSince1970: time.microsecondsSince1970) }
}
