package import Foundation

/// Where archive files are kept.
package protocol ArchiveStorage: Sendable {
  /// The place, as an operator names it.
  var location: String { get }
  /// A local folder for a file that is being written.
  var workFolder: URL { get }
  /// Stores a complete local file under a name. When it returns, the file survives a crash.
  func store(_ file: URL, as name: String) async throws
  /// Returns a local copy of a file, or the file itself.
  func file(_ name: String) async throws -> URL
}

/// A folder with archive files.
package struct ArchiveFolder: ArchiveStorage {
  private let folder: URL

  /// - Parameter path: the folder. It must exist.
  /// - Throws: `NoArchiveFolder` if it does not.
  package init(_ path: String) throws {
    folder = URL(fileURLWithPath: path, isDirectory: true).standardizedFileURL
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: folder.path, isDirectory: &isFolder), isFolder.boolValue else {
      throw NoArchiveFolder(description: "there is no folder \(folder.path): create it, or mount it")
    }
  }

  package var location: String { folder.path }
  package var workFolder: URL { folder }

  package func store(_ file: URL, as name: String) throws {
    let target = folder.appendingPathComponent(name)
    guard rename(file.path, target.path) == 0 else { throw Self.error("rename \(file.path)") }
    // The new name is on the disk only once the folder is.
    let descriptor = open(folder.path, O_RDONLY)
    guard descriptor >= 0 else { throw Self.error("open \(folder.path)") }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw Self.error("fsync \(folder.path)") }
  }

  package func file(_ name: String) -> URL { folder.appendingPathComponent(name) }

  private static func error(_ call: String) -> NoArchiveFolder {
    NoArchiveFolder(description: "\(call): \(String(cString: strerror(errno)))")
  }
}

/// A folder of the archive is missing, or cannot be written.
package struct NoArchiveFolder: Error, CustomStringConvertible { package let description: String }
