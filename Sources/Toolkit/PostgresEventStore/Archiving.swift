package import Postgres

/// Whether the write store's server archives its WAL. Without that, a restore ends at the last base backup.
package enum Archiving: Sendable {
  case off
  /// The last attempt succeeded, or there was none yet.
  case on
  /// `archive_mode` is on, and nothing says how to archive: the server keeps every segment of the WAL until its disk is full,
  /// and counts no failure.
  case unset
  /// The last attempt to archive this file failed; the number is that of all failed attempts.
  case failing(file: String, attempts: Int64)

  /// - Parameter pool: connections to the write store.
  package init(of pool: PostgresPool) async throws {
    // PostgreSQL 14 and older have no archive_library.
    let (isOn, isSet, file, attempts) = try await pool.query(
      """
      select current_setting('archive_mode') <> 'off',
        current_setting('archive_command') not in ('', '(disabled)')
          or coalesce(current_setting('archive_library', true), '') <> '',
        case when last_archived_time is null or last_failed_time > last_archived_time then last_failed_wal end, failed_count
      from pg_stat_archiver
      """
    ).decode((Bool, Bool, String?, Int64).self)[0]
    guard isOn else {
      self = .off
      return
    }
    self = !isSet ? .unset : file.map { .failing(file: $0, attempts: attempts) } ?? .on
  }
}
