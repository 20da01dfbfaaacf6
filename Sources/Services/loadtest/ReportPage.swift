/// The report as one self-contained HTML page.
enum ReportPage {
  /// - Parameter data: a `Report` as JSON.
  static func html(_ data: String) -> String {
    let page = String(decoding: PackageResources.report_html, as: UTF8.self)
    // Escapes `<`, so that no text in the data ends the script element.
    return page.replacing("\"REPORT\"", with: data.replacing("<", with: "\\u003c"))
  }
}
