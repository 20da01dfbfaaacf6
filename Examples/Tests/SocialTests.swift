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
}
