public import Hummingbird

extension RouterMethods {
  /// Serves a document that does not change while the process runs.
  public func addDocument(_ path: RouterPath, _ contentType: String, _ bytes: [UInt8]) {
    let buffer = ByteBuffer(bytes: bytes)
    get(path) { _, _ in
      Response(status: .ok, headers: [.contentType: contentType], body: ResponseBody(byteBuffer: buffer))
    }
  }
}
