/// One page that needs nothing else.
enum ReportPage {
  /// - Parameter data: a `Report` as JSON.
  static func html(_ data: String) -> String {
    let page = String(decoding: PackageResources.report_html, as: UTF8.self)
    // So that no text in it ends the script.
    return page.replacing("\"REPORT\"", with: data.replacing("<", with: "\\u003c"))
  }
}
