/// Holds a task until the test opens the gate.
public final class Gate: Sendable {
  private let (stream, continuation) = AsyncStream.makeStream(of: Void.self)

  public init() {}

  public func open() { continuation.finish() }

  public func wait() async { for await _ in stream {} }
}
