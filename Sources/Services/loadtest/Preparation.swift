import Foundation
import HTTPKit
import JSON
import SettingsKit

/// Creates the data that the workloads need, and finds data to read.
struct Preparation {
  let commands: URL
  let queries: URL
  let token: String?
  let client: ProcessClient

  /// The ids of the data to read.
  struct Found {
    var orders: [String] = []
    var customers: [String] = []
    var products: [String] = []
  }

  struct Failed: Error, CustomStringConvertible { let description: String }

  /// Registers the products. Products that already exist stay as they are.
  func makeProducts() async throws {
    for sku in Stock.skus + [Stock.hot] {
      let isHot = sku == Stock.hot
      let body = #"{"sku":"\#(sku)","name":"Load \#(sku)","unitPrice":\#(Stock.price),"tracksStock":\#(isHot)}"#
      try await post("/v1/products", body, accepting: [201, 409])
    }
    // Every run adds this quantity, which is more than a run takes.
    try await post("/v1/products/\(Stock.hot)/stock/receipts", #"{"quantity":1000000}"#, accepting: [200, 201])
  }

  /// Finds orders, customers and products to read. If there are too few orders, it places some.
  /// - Parameter count: the search stops when it has this many orders.
  func whatToRead(count: Int) async throws -> Found {
    var found = try await find(count)
    if found.orders.count < min(count, 100) {
      try await makeProducts()
      var names = Names()
      for number in 1...200 {
        let id = names.next()
        try await post(
          "/v1/orders",
          #"{"orderId":"\#(id)","customerId":"load-\#(number % 20 + 1)","lines":[{"sku":"LOAD-1","quantity":1}]}"#,
          accepting: [201])
      }
      for _ in 0..<100 where found.orders.count < 100 {
        try await Task.sleep(for: .milliseconds(100))
        found = try await find(count)
      }
    }
    guard !found.orders.isEmpty else {
      throw Failed(
        description: "there are no orders to read, and the orders written now have not reached the read tables")
    }
    return found
  }

  private func find(_ count: Int) async throws -> Found {
    var (orders, customers): ([String], Set<String>) = ([], [])
    var cursor: String?
    repeat {
      let path = "/v1/orders?limit=100" + (cursor.map { "&cursor=\($0)" } ?? "")
      let page = try await get(path)
      for item in page["items"]?.array ?? [] {
        guard let id = item["orderId"]?.string else { continue }
        orders.append(id)
        if let customer = item["customerId"]?.string { customers.insert(customer) }
      }
      cursor = page["nextCursor"]?.string
    } while cursor != nil && orders.count < count
    let products = try await get("/v1/products?limit=100")["items"]?.array?.compactMap { $0["sku"]?.string } ?? []
    return Found(
      orders: orders, customers: customers.isEmpty ? ["load-1"] : customers.sorted(),
      products: products.isEmpty ? ["LOAD-1"] : products)
  }

  private func post(_ path: String, _ body: String, accepting: Set<Int>) async throws {
    let (status, answer) = try await send("POST", commands.absoluteString + path, body)
    guard accepting.contains(status) else { throw Failed(description: "POST \(path): status \(status): \(answer)") }
  }

  private func get(_ path: String) async throws -> JSON {
    let (status, answer) = try await send("GET", queries.absoluteString + path)
    guard status == 200, let json = try? JSON(parsing: Array(answer.utf8)) else {
      throw Failed(description: "GET \(path): status \(status): \(answer)")
    }
    return json
  }

  private func send(_ method: String, _ url: String, _ body: String? = nil) async throws -> (Int, String) {
    do {
      let answer = try await client.send(
        method, URL(string: url)!, body: body.map { Array($0.utf8) }, token: token, within: .seconds(30))
      return (answer.status, String(decoding: answer.body, as: UTF8.self))
    } catch {
      throw Failed(description: "\(url) does not answer: \(error.description)")
    }
  }
}
