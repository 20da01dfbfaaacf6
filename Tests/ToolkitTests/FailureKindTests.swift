import CommandProcessing
import EventSourcing
import Failures
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections

@Suite("Failure kinds")
struct FailureKindTests {
  private struct Surprise: Error {}

  @Test(
    "Errors are classified by their cause",
    arguments: [
      (PostgresError(.connectionLost, ""), .retry), (PostgresError(.poolExhausted, ""), .retry),
      (PostgresError(.timeout, ""), .retry), (PostgresError(.closed, ""), .retry),
      (PostgresError(.server(.adminShutdown), ""), .retry), (PostgresError(.server(.deadlockDetected), ""), .retry),
      // From a primary that has become a standby.
      (PostgresError(.server(SQLState(rawValue: "25006")), ""), .retry),
      (PostgresError(.server(.uniqueViolation), ""), .refused), (PostgresError(.server(.checkViolation), ""), .refused),
      (PostgresError(.server(.undefinedTable), ""), .programmingError),
      (PostgresError(.server(.insufficientPrivilege), ""), .programmingError),
      (PostgresError(.server(SQLState(rawValue: "ZZ999")), ""), .programmingError),
      (PostgresError(.decoding, ""), .programmingError), (PostgresError(.misuse, ""), .programmingError),
      (EventStoreError.unavailable(""), .retry), (EventStoreError.historyChanged(""), .historyChanged),
      (EventStoreError.failed(""), .programmingError), (CommandError.historyChanged(""), .historyChanged),
      (EventDecodingError.at(Position(1), .malformed("")), .refused),
      (EventDecodingError.at(Position(1), .unknownType("", schemaVersion: 1)), .programmingError),
      (FencedError(), .retry), (CancellationError(), .retry), (Surprise(), .programmingError),
    ] as [(any Error, FailureKind)])
  func kinds(error: any Error, kind: FailureKind) { #expect(FailureKind(error) == kind, "\(error)") }

  @Test("An error of a projection's code is the event's fault, unless the build does not know the event")
  func places() {
    #expect(ProjectionFault(underlying: Surprise()).failureKind == .refused)
    #expect(ProjectionFault(underlying: PostgresError(.connectionLost, "")).failureKind == .refused)
    #expect(
      ProjectionFault(underlying: EventDecodingError.unknownType("", schemaVersion: 1)).failureKind == .programmingError
    )
  }

  @Test("A connection to another server is rejected as a changed history", .freshDatabase(eventStoreSchema))
  func foreignServer() async throws {
    let database = FreshDatabase.current!
    let connection = try await database.connect()
    let witness = ServerWitness(logger: .quiet)
    try await witness.check(connection)
    try await connection.query("update event_store.identity set timeline = 'another'")
    await #expect { try await witness.check(connection) } throws: {
      FailureKind($0) == .historyChanged
    }
  }
}
