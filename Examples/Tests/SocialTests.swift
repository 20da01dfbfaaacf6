import Counterflow
import CounterflowTesting
import Testing

@testable import social

@Suite("Social, without servers")
struct SocialDecisionTests {
  @Test("only people who have joined can follow, publish and like")
  func people() throws {
    try givenNothing().when(Join(name: "Ada"), id: "ada").then(Person.self, id: "ada", .personJoined(name: "Ada"))
    let ada = try given(Person.self, id: "ada", .personJoined(name: "Ada"))
    try ada.when(Join(name: "Ada"), id: "ada").thenNothing()
    try ada.when(Join(name: "Another"), id: "ada").thenRejected("taken")
    try ada.when(FollowAuthor(person: "ada", author: "bob")).thenRejected("not-found")
    let both = try ada.and(Person.self, id: "bob", .personJoined(name: "Bob"))
    try both.when(FollowAuthor(person: "ada", author: "bob"))
      .then(Person.self, id: "ada", .authorFollowed(author: "bob")).then(Person.self, id: "bob")
    try both.when(PublishPost(id: "1", author: "cyd", text: "Hello")).thenRejected("not-found")
    try both.when(LikePost(person: "ada", post: "1")).thenRejected("not-found")
  }

  @Test("a repeated follow or like is one row, and undoing it removes the row")
  func ties() throws {
    let ada = try given(
      Person.self, id: "ada", .personJoined(name: "Ada"), .authorFollowed(author: "bob"),
      .authorFollowed(author: "bob"),
      .postLiked(post: "bob"))
    #expect(try ada.rows(of: Ties()).totals("tie_counts") == [["follows", "bob"]: [1], ["likes", "bob"]: [1]])
    let undone = try ada.and(Person.self, id: "ada", .authorUnfollowed(author: "bob"), .postUnliked(post: "bob"))
    #expect(try undone.rows(of: Ties()).keys.isEmpty)
  }

  @Test("In memory people join and follow and are listed; queries in SQL say that they need PostgreSQL")
  func inMemory() async throws {
    let social = try await InMemory(Social())
    for (id, name) in [("bob", "Bob"), ("ada", "Ada")] {
      #expect(try await social.put("/v1/people/\(id)", #"{"name":"\#(name)"}"#).status == 201)
    }
    #expect(try await social.put("/v1/people/ada", #"{"name":"Another"}"#).problem == "taken")
    #expect(try await social.get("/v1/people").json["items"]?.array?.map { $0["id"] } == ["ada", "bob"])
    #expect(try await social.put("/v1/people/ada/follows/bob").status == 200)
    #expect(try await social.put("/v1/people/ada/follows/cyd").problem == "not-found")
    let post = try await social.post("/v1/people/bob/posts", #"{"text":"Hello"}"#)
    #expect(post.status == 201)
    let id = try #require(post.json["id"]?.string)
    #expect(try await social.events(of: Post.self, id).count == 1)
    for path in ["/v1/people/ada", try #require(post.location), "/v1/people/ada/feed"] {
      let answer = try await social.get(path, after: post.token)
      #expect(answer.status == 501 && answer.problem == "needs-postgresql", "\(path): \(answer)")
    }
  }
}
