import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Social")
struct SocialTests {
  private func join(_ people: [String], at http: HTTPProbe) async throws {
    for person in people {
      let name = ["name": .string(person.capitalized)] as JSON
      let answer = try await http.send("PUT", "/v1/people/\(person)", body: name.encoded)
      #expect(answer.status == 201, "\(answer.text)")
      // The same request again.
      #expect(try await http.send("PUT", "/v1/people/\(person)", body: name.encoded).status == 200)
    }
  }

  /// - Returns: The location of the post.
  private func publish(_ author: String, _ text: String, at http: HTTPProbe) async throws -> String {
    let answer = try await http.post("/v1/people/\(author)/posts", ["text": .string(text)])
    try #require(answer.status == 201, "\(answer.text)")
    return try #require(answer.headers["location"])
  }

  /// All items of a list, page by page.
  private func all(_ path: String, limit: Int, at http: HTTPProbe) async throws -> [JSON] {
    var (items, cursor) = ([JSON](), "")
    repeat {
      let answer = try await http.get("\(path)?limit=\(limit)\(cursor)")
      try #require(answer.status == 200, "\(answer.text)")
      items += answer.json["items"]?.array ?? []
      cursor = answer.json["nextCursor"]?.string.map { "&cursor=" + $0 } ?? ""
    } while !cursor.isEmpty
    return items
  }

  private func texts(_ path: String, limit: Int = 100, at http: HTTPProbe) async throws -> [String] {
    try await all(path, limit: limit, at: http).compactMap { $0["text"]?.string }
  }

  /// The first part of a cursor of that query: a hash of the query.
  private func tag(of query: String) -> String {
    var hash: UInt32 = 2_166_136_261
    for byte in query.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  private func base64url(_ text: String) -> String {
    Data(text.utf8).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
  }

  @Test("In one process profiles with counts, posts, a paged feed and likes work", .freshDatabase())
  func oneProcess() async throws {
    let service = try await RunningService.development(of: "social")
    let http = service.http
    try await join(["ada", "bob", "cyd", "10th"], at: http)
    for author in ["ada", "cyd"] {
      #expect(try await http.send("PUT", "/v1/people/bob/follows/\(author)").status == 200)
    }
    var places: [String] = []
    for (number, author) in ["ada", "bob", "cyd", "ada", "cyd"].enumerated() {
      places.append(try await publish(author, "\(number)", at: http))
    }
    let post = try #require(places[0].split(separator: "/").last.map(String.init))
    #expect(places[0] == "/v1/posts/\(post)")
    // A repeated like changes nothing.
    for person in ["bob", "cyd", "bob"] {
      #expect(try await http.send("PUT", "/v1/people/\(person)/likes/\(post)").status == 200)
    }
    #expect(try await http.send("PUT", "/v1/people/10th/likes/\(post)").status == 200)
    let unliked = try await http.send("DELETE", "/v1/people/10th/likes/\(post)")
    let token = try #require(unliked.headers["consistency-token"])

    // The token stands for the last command alone: what other people like may come later.
    var read = try await http.send("GET", places[0], headers: ["Consistency-Token": token])
    try await eventually("two like it") {
      read = try await http.send("GET", places[0], headers: ["Consistency-Token": token])
      return read.json["likes"] == 2
    }
    #expect(read.json["author"] == "ada" && read.json["text"] == "0", "\(read.text)")
    #expect(read.json.members?.map(\.name) == ["id", "author", "text", "at", "likes"])
    #expect(try await http.send("GET", places[0], headers: ["If-None-Match": read.headers["etag"]!]).status == 304)
    try await eventually("the feed is there") { try await texts("/v1/people/bob/feed", at: http).count == 4 }
    for limit in [1, 2, 3, 100] {
      #expect(try await texts("/v1/people/bob/feed", limit: limit, at: http) == ["4", "3", "2", "0"], "\(limit)")
    }
    #expect(try await texts("/v1/people/ada/posts", at: http) == ["3", "0"])
    #expect(try await texts("/v1/people/ada/feed", at: http) == [])
    let profiles: [(id: String, json: JSON)] = [
      ("ada", ["id": "ada", "name": "Ada", "followers": 1, "following": 0, "posts": 2]),
      ("bob", ["id": "bob", "name": "Bob", "followers": 0, "following": 2, "posts": 1]),
    ]
    for (id, profile) in profiles {
      try await eventually("\(id)'s profile is \(profile)") { try await http.get("/v1/people/\(id)").json == profile }
    }

    #expect(try await http.send("DELETE", "/v1/people/bob/follows/cyd").status == 200)
    try await eventually("whom one does not follow any more is not in the feed") {
      try await texts("/v1/people/bob/feed", at: http) == ["3", "0"]
    }
    try await eventually("nobody follows them") { try await http.get("/v1/people/cyd").json["followers"] == 0 }
    #expect(
      try await http.get("/v1/people?q=ad").json["items"]?.array?.map { $0["id"] } == ["ada"])
    #expect(!service.process.output.contains(#""level":"error""#), "\(service.process.output)")
  }

  @Test("Bad requests get problems, and the OpenAPI document has the types of SQL results", .freshDatabase())
  func problems() async throws {
    let http = try await RunningService.development(of: "social").http
    try await join(["ada"], at: http)
    let refused: [(String, String, JSON?, Int, String)] = [
      ("PUT", "/v1/people/ada", ["name": "Another"], 409, "taken"),
      ("PUT", "/v1/people/bob", nil, 415, "unsupported-media-type"),
      ("PUT", "/v1/people/ada/follows/nobody", nil, 404, "not-found"),
      ("PUT", "/v1/people/nobody/follows/ada", nil, 404, "not-found"),
      ("PUT", "/v1/people/ada/follows/ada", ["author": "bob"], 422, "invalid-request"),
      ("PUT", "/v1/people/ada/likes/nothing", nil, 404, "not-found"),
      ("POST", "/v1/people/ada/posts", ["text": ""], 422, "invalid-request"),
      ("POST", "/v1/people/ada/posts", ["text": "x", "id": "mine"], 422, "invalid-request"),
      ("POST", "/v1/people/nobody/posts", ["text": "x"], 404, "not-found"),
      ("GET", "/v1/people/nobody", nil, 404, "not-found"), ("GET", "/v1/people/a%00b", nil, 404, "not-found"),
      ("DELETE", "/v1/people/ada/follows/%00", nil, 404, "not-found"),
      ("DELETE", "/v1/people/ada/likes/a%00b", nil, 404, "not-found"),
      ("GET", "/v1/posts/nothing", nil, 404, "not-found"),
      ("GET", "/v1/people/ada?likes=1", nil, 400, "invalid-parameter"),
      ("GET", "/v1/people/ada/feed?cursor=x", nil, 400, "invalid-parameter"),
      ("GET", "/v1/people/ada/feed?limit=101", nil, 400, "invalid-parameter"),
    ]
    for (method, path, body, status, problem) in refused {
      let answer = try await http.send(method, path, body: body?.encoded)
      #expect(
        answer.status == status && answer.problem == problem, "\(method) \(path): \(answer.status) \(answer.text)")
    }
    // The same letter in two Unicode forms names two people.
    try await join(["%C3%A9"], at: http)
    let other = try await http.send("PUT", "/v1/people/%C3%A9/follows/e%CC%81")
    #expect(other.status == 404, "\(other.text)")
    // A forged cursor, in a form that PostgreSQL does not know.
    let forged = try await http.get("/v1/people/ada/feed?limit=1")
    #expect(forged.status == 200)
    for place in [
      #"["2026-01-01T00:00:00+23:00","x"]"#, #"["2026-01-01T00:00:00.\#(String(repeating: "0", count: 200))Z","x"]"#,
    ] {
      let cursor = tag(of: "/v1/people/ada/feed?") + base64url(place)
      #expect(try await http.get("/v1/people/ada/feed?cursor=\(cursor)").status == 200, "\(place)")
    }
    // A name that would end its SQL text if it were not a parameter.
    try await join(["'%20or%20''='"], at: http)
    try await eventually("it is read") { try await http.get("/v1/people/'%20or%20''='").json["id"] == "' or ''='" }

    let paths = try await http.get("/openapi.json").json["paths"]
    #expect(
      paths?.members?.map(\.name) == [
        "/v1/people/{id}", "/v1/people/{id}/follows/{author}", "/v1/people/{id}/posts", "/v1/people/{id}/likes/{post}",
        "/v1/people", "/v1/posts/{id}", "/v1/people/{id}/feed",
      ])
    let follow = paths?["/v1/people/{id}/follows/{author}"]?["put"]
    #expect(follow?["parameters"]?.array?.prefix(2).map { $0["name"] } == ["id", "author"])
    #expect(follow != nil && follow?["requestBody"] == nil)
    let publish = paths?["/v1/people/{id}/posts"]?["post"]?["requestBody"]
    #expect(publish?["required"] == true)
    #expect(
      publish?["content"]?["application/json"]?["schema"]?["properties"] == ["text": ["type": "string"]],
      "\(publish as Any)")
    let feed = paths?["/v1/people/{id}/feed"]?["get"]?["responses"]?["200"]?["content"]?["application/json"]?["schema"]
    let entry = feed?["properties"]?["items"]?["items"]?["properties"]
    #expect(entry?["at"] == ["type": "string", "format": "date-time"] && entry?["likes"] == ["type": "integer"])
  }

  @Test(
    "With one process per role and a killed projector, every feed has the authors' posts",
    .freshStores, .freshVirtualHost)
  func processes() async throws {
    let system = System(of: "social")
    try await system.migrate()
    let commands = try await system.startReady(.commandService).http
    try await system.startReady(.relay)
    let projectors = [try await system.startReady(.projector), try await system.startReady(.projector)]
    let queries = try await system.startReady(.queryService).http

    let people = (0..<10).map { "person\($0)" }
    try await join(people, at: commands)
    func followed(by person: Int) -> [Int] { (1...3).map { (person + $0 * $0) % people.count } }
    for person in people.indices {
      for author in followed(by: person) {
        #expect(try await commands.send("PUT", "/v1/people/\(people[person])/follows/\(people[author])").status == 200)
      }
    }
    var posts: [(author: Int, place: String)] = []
    for number in 0..<60 {
      let author = number * 7 % 10
      posts.append((author, try await publish(people[author], "\(number)", at: commands)))
      if number == 30 { projectors[0].process.signal(SIGKILL) }
      let post = posts[number / 2].place.split(separator: "/").last!
      #expect(try await commands.send("PUT", "/v1/people/\(people[number % 10])/likes/\(post)").status == 200)
    }
    for person in people.indices {
      let expected = posts.indices.filter { followed(by: person).contains(posts[$0].author) }.map(String.init)
      try await eventually("\(people[person]) has their feed", within: .seconds(60)) {
        try await texts("/v1/people/\(people[person])/feed", limit: 7, at: queries) == expected.reversed()
      }
    }
    try await eventually("all likes are counted") {
      var likes = 0
      for person in people {
        likes += try await all("/v1/people/\(person)/posts", limit: 100, at: queries)
          .reduce(0) { $0 + Int($1["likes"]?.integer ?? 0) }
      }
      return likes == 60
    }
    let verify = try system.run("social", ["verify"])
    #expect(try await verify.wait() == 0, "\(verify.output)")
  }
}
