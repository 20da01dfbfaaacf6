import JSON

/// Where a request goes. Each side has connections of its own, so that none waits for another's answers.
enum Side: Int, CaseIterable, Sendable {
  case command, query
  /// Reads that only watch how soon writes are visible.
  case watch
  /// Metrics, for how far the projections are behind.
  case probe
}

/// One request, and what its answer is for.
struct Request {
  let side: Side
  /// Head and body, as they are sent.
  let bytes: [UInt8]
  /// What it is called in the results; nil for one that is not counted.
  let operation: String?
  /// The workload's own: what it belongs to.
  var subject = ""
  var step = 0
  /// When it should be sent: what it waits beyond that is part of its latency.
  var intended: Nanoseconds = 0
  /// It was sent before on a connection that the server had closed at that moment.
  var isRepeated = false
  /// When the first request of its journey should have been sent; 0 for none.
  var began: Nanoseconds = 0
}

struct Response {
  let status: Int
  let consistencyToken: String?
  let body: ArraySlice<UInt8>

  var isSuccess: Bool { (200..<300).contains(status) }

  /// What an answer that is no success is called in the results: its status and, of a problem document, the type.
  var error: String {
    let type = (try? JSON(parsing: Array(body)))?["type"]?.string
    return "HTTP \(status)" + (type.map { " \($0.split(separator: ":").last ?? "")" } ?? "")
  }
}

/// Makes requests in HTTP/1.1.
struct RequestFormat {
  private let fields: String

  /// - Parameter token: sent as a bearer token.
  init(token: String?) {
    fields = "Host: loadtest\r\nUser-Agent: loadtest\r\n" + (token.map { "Authorization: Bearer \($0)\r\n" } ?? "")
  }

  func get(_ path: String, consistencyToken: String? = nil) -> [UInt8] {
    let token = consistencyToken.map { "Consistency-Token: \($0)\r\nPrefer: wait=30\r\n" } ?? ""
    return Array("GET \(path) HTTP/1.1\r\n\(fields)\(token)\r\n".utf8)
  }

  func post(_ path: String, _ body: String, key: String) -> [UInt8] {
    Array(
      """
      POST \(path) HTTP/1.1\r\n\(fields)Content-Type: application/json\r\nIdempotency-Key: \(key)\r\n\
      Content-Length: \(body.utf8.count)\r\n\r\n\(body)
      """.utf8)
  }
}
