import JSON

/// The target of a request. Each side has its own connections, so that no request waits for another side's responses.
enum Side: Int, CaseIterable, Sendable {
  case command, query
  /// Reads that measure how soon writes are visible.
  case watch
  /// Reads of metrics, for the projections' lag.
  case probe
}

/// A request, and how its response is counted.
struct Request {
  let side: Side
  /// Head and body, as sent.
  let bytes: [UInt8]
  /// The name in the results; nil if the request is not counted.
  let operation: String?
  /// What the request belongs to, such as an order's id.
  var subject = ""
  var step = 0
  /// When the request should be sent. Its latency counts from here.
  var intended: Nanoseconds = 0
  /// The request was already sent once, on a connection that the server closed at that moment.
  var isRepeated = false
  /// When the first request of its journey should have been sent; 0 without a journey.
  var began: Nanoseconds = 0
}

struct Response {
  let status: Int
  let consistencyToken: String?
  let body: ArraySlice<UInt8>

  var isSuccess: Bool { (200..<300).contains(status) }

  /// The name of a failure in the results: the status and, for a problem document, the type.
  var error: String {
    let type = (try? JSON(parsing: Array(body)))?["type"]?.string
    return "HTTP \(status)" + (type.map { " \($0.split(separator: ":").last ?? "")" } ?? "")
  }
}

/// Makes HTTP/1.1 requests.
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
