import Counterflow

enum PersonEvent: DomainEvent, Codable {
  case personJoined(name: String)
  case authorFollowed(author: String)
  case authorUnfollowed(author: String)
  case postLiked(post: String)
  case postUnliked(post: String)
}

/// Does not hold the authors and posts that a person follows and likes, because their number has no limit. A repeated
/// like is therefore a second event, which changes no row.
struct Person: Aggregate {
  static let category = "person"
  var name: String?

  mutating func apply(_ event: PersonEvent) { if case .personJoined(let name) = event { self.name = name } }
}

enum PostEvent: DomainEvent, Codable { case postPublished(author: String, text: String) }

struct Post: Aggregate {
  static let category = "post"
  var isPublished = false

  mutating func apply(_ event: PostEvent) { isPublished = true }
}

struct Join: StreamCommand, Codable {
  var name: String

  func decide(_ person: Person) throws(Rejection) -> [PersonEvent] {
    guard let other = person.name else { return [.personJoined(name: name)] }
    guard other == name else { throw Rejection("taken", title: "This id is taken", detail: "Choose another one.") }
    return []
  }
}

struct FollowAuthor: Command, Codable {
  var person: String, author: String

  var streams: [AggregateReference] { [person, author].map { AggregateReference(Person.self, $0) } }

  func decide(_ decision: inout Decision) throws(Rejection) {
    for id in [person, author] { try decision.requirePerson(id) }
    decision.emit(.authorFollowed(author: author), to: Person.self, person)
  }
}

struct UnfollowAuthor: StreamCommand, Codable {
  var author: String

  func decide(_ person: Person) -> [PersonEvent] { person.name != nil ? [.authorUnfollowed(author: author)] : [] }
}

struct PublishPost: Command, Codable {
  var id: String, author: String, text: String

  var streams: [AggregateReference] { [AggregateReference(Post.self, id), AggregateReference(Person.self, author)] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    try decision.requirePerson(author)
    guard (1...1000).contains(text.unicodeScalars.count) else {
      throw .invalidRequest([.init(pointer: "/text", detail: "must have 1 to 1000 characters")])
    }
    decision.emit(.postPublished(author: author, text: text), to: Post.self, id)
  }
}

struct LikePost: Command, Codable {
  var person: String, post: String

  var streams: [AggregateReference] { [AggregateReference(Person.self, person), AggregateReference(Post.self, post)] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    try decision.requirePerson(person)
    guard decision.state(Post.self, post).isPublished else { throw .notFound("There is no such post.") }
    decision.emit(.postLiked(post: post), to: Person.self, person)
  }
}

struct UnlikePost: StreamCommand, Codable {
  var post: String

  func decide(_ person: Person) -> [PersonEvent] { person.name != nil ? [.postUnliked(post: post)] : [] }
}

extension Decision {
  mutating func requirePerson(_ id: String) throws(Rejection) {
    guard state(Person.self, id).name != nil else { throw .notFound("There is no \(id).") }
  }
}

struct People: ReadModel {
  struct Row: Codable { var id: String, name: String }

  let name = "people", version = 1
  let sources = [
    RowSource<Row>(Person.self) { if case .personJoined(let name) = $0.event { $1 = Row(id: $0.id, name: name) } }
  ]
  let columns = [Column<Row>.search("words") { "\($0.id) \($0.name)" }]
}

/// The authors that people follow, and the posts that they like.
struct Ties: ReadModel {
  struct Row: Codable { var person: String, kind: String, target: String }

  let name = "ties", version = 1
  let sources = [
    // U+001F separates the parts: no id has a control character.
    RowSource<Row>(
      Person.self, keys: { event in event.event.tie.map { ["\(event.id)\u{1F}\($0.kind)\u{1F}\($0.target)"] } ?? [] }
    ) { event, _, row in
      row = event.event.tie.flatMap { $0.isThere ? Row(person: event.id, kind: $0.kind, target: $0.target) : nil }
    }
  ]
  let columns = [Column<Row>("person", \.person), Column("kind", \.kind), Column("target", \.target)]
  let indexes = [Index("person", "kind", "target")]
  let totals = [Totals<Row>("tie_counts", by: [.text("kind", \.kind), .text("target", \.target)], [.count("people")])]
}

extension PersonEvent {
  fileprivate var tie: (kind: String, target: String, isThere: Bool)? {
    switch self {
    case .personJoined: nil
    case .authorFollowed(let author): ("follows", author, true)
    case .authorUnfollowed(let author): ("follows", author, false)
    case .postLiked(let post): ("likes", post, true)
    case .postUnliked(let post): ("likes", post, false)
    }
  }
}

struct Posts: ReadModel {
  struct Row: Codable { var author: String, text: String, at: Timestamp }

  let name = "posts", version = 1
  let sources = [
    RowSource<Row>(Post.self) { event, row in
      if case .postPublished(let author, let text) = event.event {
        row = Row(author: author, text: text, at: event.recordedAt)
      }
    }
  ]
  let columns = [Column<Row>("author", \.author), Column("at", \.at), Column("text", \.text)]
  let indexes = [Index("author", "at", "key"), Index("at", "key")]
  let totals = [Totals<Row>("post_counts", by: [.text("author", \.author)], [.count("posts")])]
}

struct Profile: Codable { var id: String, name: String, followers: Int, following: Int, posts: Int }
struct Entry: Codable { var id: String, author: String, text: String, at: Timestamp, likes: Int }

@main
struct Social: Application {
  let commands: [CommandRoute] = [
    .put("/v1/people/{id}", Join.self), .put("/v1/people/{person}/follows/{author}", FollowAuthor.self),
    .delete("/v1/people/{id}/follows/{author}", UnfollowAuthor.self),
    .post("/v1/people/{author}/posts", PublishPost.self, creating: "/v1/posts/{id}"),
    .put("/v1/people/{person}/likes/{post}", LikePost.self), .delete("/v1/people/{id}/likes/{post}", UnlikePost.self),
  ]
  let readModels: [any ReadModel] = [People(), Posts(), Ties()]
  let queries: [QueryRoute] = [
    .list("/v1/people", People(), search: "words"),
    .row("/v1/people/{id}", Profile.self, of: People(), Posts(), Ties(), sql: profile),
    .row("/v1/posts/{id}", Entry.self, of: Posts(), Ties(), sql: "\(entries) where key = {id}"),
    .list(
      "/v1/people/{author}/posts", Entry.self, of: Posts(), Ties(), order: .descending("at", "id"),
      sql: "\(entries) where author = {author}"),
    .list(
      "/v1/people/{id}/feed", Entry.self, of: Posts(), Ties(), order: .descending("at", "id"),
      sql: "\(entries) where author in (select target from read_models.ties where person = {id} and kind = 'follows')"),
  ]

  private static let profile = """
    select key as id, document ->> 'name' as name,
      (select coalesce(sum(people), 0) from read_models.tie_counts where kind = 'follows' and target = people.key) as followers,
      (select count(*) from read_models.ties where kind = 'follows' and person = people.key) as following,
      (select coalesce(sum(posts), 0) from read_models.post_counts where author = people.key) as posts
    from read_models.people where key = {id}
    """
  private static let entries = """
    select key as id, author, text, at,
      (select coalesce(sum(people), 0) from read_models.tie_counts where kind = 'likes' and target = posts.key) as likes
    from read_models.posts
    """
}
