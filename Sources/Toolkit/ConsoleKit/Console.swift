package import JSON

/// What the console shows of an application, besides its processes, rates, projections and parked streams.
///
///     let console = Console(
///       .init(
///         "Newest accounts",
///         .init(list: "/v1/accounts", row: "/v1/accounts/{id}", history: "/v1/accounts/{id}/history"),
///         id: "id", columns: ["\("owner")", "\(number: "balance")"]
///       ).finding("Find an account", "An account's id"))
public struct Console: Sendable {
  package let newest: [Newest]

  /// Creates what the console shows of an application.
  /// - Parameter newest: in the order of the page.
  public init(_ newest: Newest...) { self.newest = newest }

  /// The declaration for the page's script.
  package var json: JSON { ["newest": .array(newest.map(\.json))] }

  /// The first rows of a list, each of which opens with the events of its stream. The page asks for them again each
  /// second while somebody watches.
  public struct Newest: Sendable {
    /// Paths of queries.
    public struct Routes: Sendable {
      package let list: String
      package let row: String
      package let history: String?

      /// Names the routes that a page reads.
      /// - Parameters:
      ///   - list: answers with pages of rows, and knows `limit`.
      ///   - row: answers with one row. Its only parameter is the row's id.
      ///   - history: answers with the events of a row's stream, with the same parameter; nil if there is none.
      public init(list: String, row: String, history: String? = nil) {
        (self.list, self.row, self.history) = (list, row, history)
      }
    }

    private struct Find: Sendable {
      let title: String
      let label: String
      let isByText: Bool
    }

    package let routes: Routes
    private let title: String
    private let id: String
    private let columns: [RowText]
    private var heading: RowText
    private var none = "There is nothing yet."
    private var find: Find?

    /// Creates a list of the newest things.
    /// - Parameters:
    ///   - title: a heading, such as "Newest accounts".
    ///   - routes: the routes that the page reads.
    ///   - id: the member of a row with its id.
    ///   - columns: what to show of a row, in pairs: the second one of a pair stands at the right.
    public init(_ title: String, _ routes: Routes, id: String, columns: [RowText]) {
      (self.title, self.routes, self.id, self.columns) = (title, routes, id, columns)
      heading = "\(id)"
    }

    /// Sets the heading above an opened row; the row's id by default.
    public func headed(_ heading: RowText) -> Newest { changed { $0.heading = heading } }

    /// Sets the sentence that stands there while there are no rows.
    public func empty(_ sentence: String) -> Newest { changed { $0.none = sentence } }

    /// Adds a search for a row by its id.
    /// - Parameters:
    ///   - title: the heading of the search.
    ///   - label: what to enter.
    ///   - isByText: whether the list's parameter `q` also searches for words.
    public func finding(_ title: String, _ label: String, isByText: Bool = false) -> Newest {
      changed { $0.find = Find(title: title, label: label, isByText: isByText) }
    }

    package var isSearched: Bool { find?.isByText ?? false }

    private func changed(_ change: (inout Newest) -> Void) -> Newest {
      var copy = self
      change(&copy)
      return copy
    }

    fileprivate var json: JSON {
      [
        "title": .string(title), "list": .string(routes.list), "row": .string(routes.row),
        "history": routes.history.map { .string($0) } ?? .null, "id": .string(id),
        "columns": .array(columns.map(\.json)), "heading": heading.json, "none": .string(none),
        "find": find.map { ["title": .string($0.title), "label": .string($0.label), "byText": .boolean($0.isByText)] }
          ?? .null,
      ]
    }
  }
}
