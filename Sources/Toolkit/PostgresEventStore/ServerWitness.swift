internal import EventLoop
package import EventSourcing
package import Failures
package import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
internal import ServiceLifecycle
internal import Synchronization

/// Remembers the head of the write store, so that this process recognises the store on another server.
///
/// After a failover, another server has the store. If it has the event that was the head when this process last looked,
/// nothing is lost, and the process declares that server to be the store's, for all processes. If the event is missing, it
/// says so in the store: then nothing is appended until an operator has run `restore-finished`. A process that has not
/// looked for some minutes recognises nothing, and still finds an event missing.
package final class ServerWitness: Service {
  /// The time between two looks.
  private static let interval = Duration.seconds(1)
  /// A look that is older than this does not show that nothing was lost.
  private static let memory = Duration.seconds(300)

  /// The end of the store.
  package struct Head: Sendable {
    package let historyID: UUID
    /// Of the last event; 0 if there is none.
    package let position: Position
    package let eventID: UUID?

    package init(historyID: UUID, position: Position, eventID: UUID?) {
      (self.historyID, self.position, self.eventID) = (historyID, position, eventID)
    }
  }

  /// What a process knows of the store.
  package struct Evidence: Sendable {
    /// At its last look; nil if it has not looked yet.
    package var head: Head?
    /// Whether that was so lately that a store with this event has lost nothing.
    package var isRecent = false
  }

  private struct State {
    var head: Head?
    var lookedAt = Machine.now
    var look: (@Sendable () async throws -> Head)?
  }

  private let state = Mutex(State())
  private let logger: Logger
  private let recognised = Counter(label: "store_failovers_total")

  /// - Parameter logger: gets what happens to the store.
  package init(logger: Logger) { self.logger = logger }

  /// Looks at the store in this way, once `run` is called.
  package func watch(_ look: @escaping @Sendable () async throws -> Head) { state.withLock { $0.look = look } }

  /// Looks at the store through this pool, once `run` is called.
  package func watch(_ pool: PostgresPool) {
    watch {
      let (historyID, position, eventID) = try await pool.query(
        """
        select i.history_id, coalesce(e.position, 0), e.id
        from event_store.identity i
        left join lateral (select e.position, e.id from event_store.events e order by e.position desc limit 1) e on true
        """
      ).decode((UUID, Int64, UUID?).self)[0]
      return Head(historyID: historyID, position: Position(position), eventID: eventID)
    }
  }

  package var evidence: Evidence {
    state.withLock { Evidence(head: $0.head, isRecent: $0.head != nil && Machine.now - $0.lookedAt < Self.memory) }
  }

  /// Accepts a new connection if the server has the store and all its events, as far as this process knows.
  /// - Throws: `ForeignServer`, `PostgresError`.
  @Sendable package func check(_ connection: PostgresConnection) async throws {
    let evidence = evidence
    let head = evidence.head
    let rows: ResultSet
    do {
      rows = try await connection.query(
        """
        select verdict, reason from event_store.recognise_server(
          \(optional: head?.historyID), \(head?.position.rawValue ?? 0), \(optional: head?.eventID), \(evidence.isRecent))
        """)
    } catch {
      guard error.isMissingSchema else { throw error }
      // Not migrated yet, as the readiness check reports: there is no history to confuse.
      return
    }
    let (verdict, reason) = try rows.decode((String, String?).self)[0]
    switch verdict {
    case "known": return
    case "recognised":
      recognised.increment()
      logger.notice(
        "the write store has moved to another server, which has all events that this process has seen: goes on",
        metadata: ["server": "\(reason ?? "")", "head": "\(head?.position ?? .start)"])
    default: throw ForeignServer(description: reason ?? verdict)
    }
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      var isFailing = false
      while !Task.isCancelled {
        do {
          try await self.look()
          isFailing = false
        } catch {
          guard !Task.isCancelled else { break }
          if !isFailing {
            self.logger.warning("cannot look at the write store's head", metadata: ["error": "\(error)"])
          }
          isFailing = true
        }
        try? await Machine.sleep(for: Self.interval)
      }
    }
  }

  private func look() async throws {
    guard let look = state.withLock({ $0.look }) else { return }
    let begun = Machine.now
    let head = try await look()
    state.withLock { ($0.head, $0.lookedAt) = (head, begun) }
  }
}

/// Where an acknowledged event is.
package enum Durability: String, Sendable {
  /// On the disk of one server.
  case local
  /// On a standby as well: a commit waits for it.
  case replicated

  /// - Parameter pool: connections to the write store, with the settings of those that append.
  package init(of pool: PostgresPool) async throws {
    let isReplicated = try await pool.query(
      """
      select current_setting('synchronous_standby_names') <> ''
        and current_setting('synchronous_commit') in ('remote_write', 'on', 'remote_apply')
      """
    ).value(Bool.self)
    self = isReplicated ? .replicated : .local
  }
}

/// The server is not the one on which the store was last declared to be, or it has lost events.
package struct ForeignServer: ClassifiedError, CustomStringConvertible {
  package let description: String
  package var failureKind: FailureKind { .historyChanged }
}

extension PostgresError {
  fileprivate var isMissingSchema: Bool {
    [.undefinedTable, .undefinedSchema, .undefinedFunction, .undefinedColumn].contains(sqlState)
  }
}
