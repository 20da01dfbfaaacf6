/// Keeps values in memory, up to a cost in bytes. Values that are used stay.
///
/// New values, and values that are found in `earlier`, go to `recent`. When `recent` has half of the capacity, it becomes
/// `earlier`, and the values that stayed in `earlier` are dropped. It is inlinable, since
/// other modules look things up in it for every command and every query.
package struct BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  @usableFromInline
  struct Entry {
    @usableFromInline let value: Value
    @usableFromInline let cost: Int

    @inlinable
    init(value: Value, cost: Int) { (self.value, self.cost) = (value, cost) }
  }

  @usableFromInline let capacity: Int
  @usableFromInline var recent: [Key: Entry] = [:]
  @usableFromInline var earlier: [Key: Entry] = [:]
  @usableFromInline var recentCost = 0
  @usableFromInline var earlierCost = 0

  /// - Parameter capacity: the most that all values cost together, in bytes.
  @inlinable
  package init(capacity: Int) { self.capacity = capacity }

  @inlinable
  package var count: Int { recent.count + earlier.count }
  /// In bytes.
  @inlinable
  package var cost: Int { recentCost + earlierCost }

  @inlinable
  package mutating func value(of key: Key) -> Value? {
    if let entry = recent[key] { return entry.value }
    guard let entry = removeEarlier(key) else { return nil }
    add(entry, key)
    return entry.value
  }

  /// Stores a value, unless it alone takes more than half of the capacity.
  /// - Parameter cost: in bytes, with those of the key.
  @inlinable
  package mutating func insert(_ value: Value, for key: Key, cost: Int) {
    remove(key)
    if cost <= capacity / 2 { add(Entry(value: value, cost: cost), key) }
  }

  @inlinable
  package mutating func remove(_ key: Key) {
    if let entry = recent.removeValue(forKey: key) { recentCost -= entry.cost } else { _ = removeEarlier(key) }
  }

  @inlinable
  mutating func removeEarlier(_ key: Key) -> Entry? {
    let entry = earlier.removeValue(forKey: key)
    earlierCost -= entry?.cost ?? 0
    return entry
  }

  @inlinable
  mutating func add(_ entry: Entry, _ key: Key) {
    if recentCost + entry.cost > capacity / 2 {
      (earlier, earlierCost, recent, recentCost) = (recent, recentCost, [:], 0)
    }
    recent[key] = entry
    recentCost += entry.cost
  }
}
