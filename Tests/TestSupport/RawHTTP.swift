internal import Foundation
internal import JSON

extension HTTPProbe {
  /// Sends bytes over a new connection. Each part is sent when the response to the part before has begun. Then reads
  /// until the server is silent for a second.
  public func raw(_ parts: String...) async throws -> String {
    let script = """
      import json, socket, sys
      host, port = sys.argv[1].removeprefix("http://").split(":")
      with socket.create_connection((host, int(port)), timeout=60) as connection:
          received = b""
          for part in json.load(open(sys.argv[2])):
              seen = len(received)
              try:
                  connection.sendall(part.encode())
                  while b"\\r\\n\\r\\n" not in received[seen:] and (more := connection.recv(65536)):
                      received += more
              except (BrokenPipeError, ConnectionResetError):
                  pass
          connection.settimeout(1)
          try:
              while more := connection.recv(65536):
                  received += more
          except (TimeoutError, ConnectionResetError, BrokenPipeError):
              pass
      sys.stdout.buffer.write(received)
      """
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("parts"))
    try Data(JSON.array(parts.map { .string($0) }).encoded).write(to: file)
    let client = try ChildProcess(URL(fileURLWithPath: "/usr/bin/python3"), ["-c", script, base, file.path])
    guard try await client.wait() == 0 else { throw NeverHappened(description: client.output) }
    return client.output
  }
}
