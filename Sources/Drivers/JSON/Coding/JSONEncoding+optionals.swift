// How absent optionals are encoded. The protocol requires one method for each type.
extension JSONObjectEncoder {
  private func write<Value>(_ value: Value?, _ key: Key, _ encode: (Value) throws -> Void) throws {
    if let value { try encode(value) } else if stream.absentAsNull { try encodeNil(forKey: key) }
  }

  func encodeIfPresent(_ value: Bool?, forKey key: Key) throws { try write(value, key) { try encode($0, forKey: key) } }
  func encodeIfPresent(_ value: String?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: Double?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: Float?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: Int?, forKey key: Key) throws { try write(value, key) { try encode($0, forKey: key) } }
  func encodeIfPresent(_ value: Int8?, forKey key: Key) throws { try write(value, key) { try encode($0, forKey: key) } }
  func encodeIfPresent(_ value: Int16?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: Int32?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: Int64?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: UInt?, forKey key: Key) throws { try write(value, key) { try encode($0, forKey: key) } }
  func encodeIfPresent(_ value: UInt8?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: UInt16?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: UInt32?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: UInt64?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
  func encodeIfPresent(_ value: (some Encodable)?, forKey key: Key) throws {
    try write(value, key) { try encode($0, forKey: key) }
  }
}
