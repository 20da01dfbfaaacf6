internal import JSON
internal import Postgres

/// Who migrated the schemas of both stores.
struct StoreSchemas {
  private let records: [(store: String, record: SchemaRecord)]
  /// Why this program is too old for one of them; nil if it is not.
  let refusal: OutdatedBuild?

  init(_ stores: Stores) async throws {
    var (records, refusal): ([(String, SchemaRecord)], OutdatedBuild?) = ([], nil)
    let own = [
      ("write", stores.writeStore, Administration.current.writeStoreSchemas),
      ("read", stores.readStore, Administration.current.readStoreSchemas),
    ]
    for (store, pool, schemas) in own {
      let known = try await pool.withConnection { try await $0.records(of: schemas) }
      records += known.map { (store, $0) }
      for schema in schemas {
        refusal = refusal ?? known.first { $0.schema == schema.name }?.refusal(of: schema)
      }
    }
    (self.records, self.refusal) = (records, refusal)
  }

  var text: String {
    var table = Table("store", "schema", "version", "migrated by", "oldest beside")
    for (store, record) in records {
      table.add(store, record.schema, "\(record.version)", record.program, record.oldestProgram)
    }
    let own = "This is version \(PackageVersion.current)."
    let schemas = records.isEmpty ? "No version has recorded a migration yet; run migrate." : table.text
    return ([schemas, own] + (refusal.map { ["\($0)."] } ?? [])).joined(separator: "\n\n")
  }

  func write(to json: inout JSONWriter) {
    json.array(records) { json, entry in
      json.object { json in
        json.member("store", entry.store)
        json.member("schema", entry.record.schema)
        json.member("version", Int64(entry.record.version))
        json.member("migratedBy", entry.record.program)
        json.member("oldestVersion", Int64(entry.record.oldestVersion))
        json.member("oldestProgram", entry.record.oldestProgram)
      }
    }
  }
}
