internal import CRabbitMQ
import Glibc

/// C memory for strings and tables, freed with the arena. librabbitmq copies the data that it sends.
struct Arena: ~Copyable {
  private var blocks: [UnsafeMutableRawPointer] = []

  deinit { blocks.forEach { free($0) } }

  mutating func bytes(_ string: String) -> amqp_bytes_t { bytes(Array(string.utf8)) }

  mutating func bytes(_ bytes: [UInt8]) -> amqp_bytes_t {
    let block = malloc(max(bytes.count, 1))!
    blocks.append(block)
    bytes.withUnsafeBytes { if let base = $0.baseAddress { memcpy(block, base, $0.count) } }
    return amqp_bytes_t(len: bytes.count, bytes: block)
  }

  mutating func table(_ fields: [String: FieldValue]) -> amqp_table_t {
    guard !fields.isEmpty else { return amqp_table_t(num_entries: 0, entries: nil) }
    let block = malloc(MemoryLayout<amqp_table_entry_t>.stride * fields.count)!
    blocks.append(block)
    let entries = block.bindMemory(to: amqp_table_entry_t.self, capacity: fields.count)
    for (index, (key, value)) in fields.enumerated() {
      (entries + index).initialize(to: amqp_table_entry_t(key: bytes(key), value: field(value)))
    }
    return amqp_table_t(num_entries: Int32(fields.count), entries: entries)
  }

  private mutating func field(_ value: FieldValue) -> amqp_field_value_t {
    var field = amqp_field_value_t()
    switch value {
    case .string(let string): (field.kind, field.value.bytes) = (UInt8(ascii: "S"), bytes(string))
    case .integer(let integer): (field.kind, field.value.i64) = (UInt8(ascii: "l"), integer)
    case .boolean(let boolean): (field.kind, field.value.boolean) = (UInt8(ascii: "t"), boolean ? 1 : 0)
    case .table(let fields): (field.kind, field.value.table) = (UInt8(ascii: "F"), table(fields))
    case .other: field.kind = UInt8(ascii: "V")
    }
    return field
  }
}

extension String {
  init(_ bytes: amqp_bytes_t) {
    self = String(decoding: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len), as: UTF8.self)
  }
}

extension [String: FieldValue] {
  init(_ table: amqp_table_t) {
    self = [:]
    for index in 0..<Int(table.num_entries) {
      let entry = table.entries[index]
      self[String(entry.key)] = FieldValue(entry.value)
    }
  }
}

extension FieldValue {
  init(_ field: amqp_field_value_t) {
    self =
      switch field.kind {
      case UInt8(ascii: "S"): .string(String(field.value.bytes))
      case UInt8(ascii: "t"): .boolean(field.value.boolean != 0)
      case UInt8(ascii: "l"): .integer(field.value.i64)
      case UInt8(ascii: "I"): .integer(Int64(field.value.i32))
      case UInt8(ascii: "i"): .integer(Int64(field.value.u32))
      case UInt8(ascii: "s"): .integer(Int64(field.value.i16))
      case UInt8(ascii: "u"): .integer(Int64(field.value.u16))
      case UInt8(ascii: "b"): .integer(Int64(field.value.i8))
      case UInt8(ascii: "F"): .table([String: FieldValue](field.value.table))
      default: .other(field.kind)
      }
  }
}
