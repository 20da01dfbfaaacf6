package import Postgres

/// The engine's own tables, without rights for those who run projections.
package let projectionsSchema = enginesSchema(rights: [])
/// The engine's own tables in the read store. A projector may change them.
package let readModelEngineSchema = enginesSchema(rights: PackageResources.read_model_privileges_sql)
/// The engine's own tables in the write store. A reactor may change them.
package let reactionEngineSchema = enginesSchema(rights: PackageResources.reaction_privileges_sql)

private func enginesSchema(rights: [UInt8]) -> Schema {
  Schema(
    name: "projections",
    migrations: [
      Migration(
        version: 1, name: "projections", sql: String(decoding: PackageResources.v0001_projections_sql, as: UTF8.self))
    ],
    afterwards: [PackageResources.functions_sql, PackageResources.privileges_sql, rights]
      .filter { !$0.isEmpty }.map { String(decoding: $0, as: UTF8.self) })
}

/// The tables of read models, as declared. It needs the engine's own tables.
///
/// Each time it is applied, it creates missing shapes, and creates shapes again if their declaration changed under a
/// new version.
package func readModelsSchema(_ projections: [Projection]) -> Schema {
  let declarations = projections.map { projection in
    let tables = projection.tables.map { "'\($0)'" }.joined(separator: ", ")
    return "select projections.declare('\(projection.name)', \(projection.version), array[\(tables)], "
      + "$definition$\(projection.definition)$definition$);"
  }
  return Schema(
    name: readModelsName,
    migrations: [
      Migration(
        version: 1, name: "read models",
        sql: String(decoding: PackageResources.v0001_read_models_sql, as: UTF8.self))
    ], declarations: declarations)
}

extension Projection {
  /// Returns how the read store's tables differ from these declarations; nil if they do not.
  package static func problem(with projections: [Projection], on readStore: PostgresPool) async throws -> String? {
    let names = projections.map(\.name)
    let known = try await readStore.query(
      "select projection, version, definition from projections.shapes where projection = any(\(array: names))"
    ).decode((String, Int, String).self)
    let shapes = Dictionary(uniqueKeysWithValues: known.map { ($0.0, ($0.1, $0.2)) })
    for projection in projections {
      let shape = shapes[projection.name]
      // A newer build has migrated already. This build's generations still exist.
      if let shape, shape.0 > projection.version { continue }
      guard let shape, shape == (projection.version, projection.definition) else {
        return "the tables of read model \(projection.name) are not those of this build; run migrate"
      }
    }
    return nil
  }
}
