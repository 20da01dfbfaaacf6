package import EventSourcing
package import Postgres

extension Timestamp {
  package init(_ time: PostgresTimestamp) { self.init(microsecondsSince1970: time.microsecondsSince1970) }
}

extension PostgresTimestamp {
  package init(_ time: Timestamp) { self.init(microsecondsSince1970: time.microsecondsSince1970) }
}
