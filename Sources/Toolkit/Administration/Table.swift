/// A table for people: numbers are right-aligned, everything else is left-aligned.
package struct Table {
  private var rows: [[String]] = []

  package init(_ heading: String...) { rows.append(heading) }

  package mutating func add(_ cells: String...) { rows.append(cells) }

  var isEmpty: Bool { rows.count == 1 }

  package var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max()! }
    let isNumeric = rows[0].indices.map { column in
      !isEmpty && rows.dropFirst().allSatisfy { $0[column].allSatisfy { "0123456789.,-s %".contains($0) } }
    }
    return rows.map { row in
      let cells = row.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - row[column].count)
        return isNumeric[column] ? space + row[column] : row[column] + space
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}
