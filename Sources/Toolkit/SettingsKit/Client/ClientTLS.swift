package import NIOSSL

/// TLS for clients of the system's own https processes.
package enum ClientTLS {
  /// `TLS_CA`: the authorities to trust.
  package static let authorities = Setting.optional(
    "TLS_CA", allowed: "certificates in PEM",
    help:
      "The authorities that vouch for https processes which the console watches, or which loadtest or the import asks; without it those that the system trusts."
  )

  /// Returns the TLS configuration of a client.
  /// - Parameter isVerifying: false to accept any certificate.
  /// - Throws: `SettingError` if the certificates cannot be read.
  package static func context(_ settings: Settings, isVerifying: Bool = true) throws(SettingError) -> NIOSSLContext {
    var configuration = try configuration(settings)
    if !isVerifying { configuration.certificateVerification = .none }
    do { return try NIOSSLContext(configuration: configuration) } catch {
      throw SettingError(authorities, "cannot be used")
    }
  }

  /// Returns a TLS configuration that trusts the authorities in `TLS_CA`, or else the system's.
  package static func configuration(_ settings: Settings) throws(SettingError) -> TLSConfiguration {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    if let text = try settings[authorities] {
      do {
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(text.utf8)))
      } catch { throw SettingError(authorities, "holds no certificate in PEM") }
    }
    return configuration
  }

  /// Returns the reason if the TLS handshake failed, such as an untrusted certificate; nil for any other error.
  package static func distrust(_ error: any Error) -> String? {
    if let error = error as? NIOSSLExtraError, error == .failedToValidateHostname {
      return "its certificate is not for the host of the URL"
    }
    guard case .handshakeFailed(let reason)? = error as? NIOSSLError else { return nil }
    let text = "\(reason)"
    if text.contains("CERTIFICATE_VERIFY_FAILED") {
      return "its certificate is not trusted; set TLS_CA_FILE to the authority's certificate"
    }
    return text.contains("WRONG_VERSION_NUMBER") ? "it does not speak TLS" : "TLS failed: \(text)"
  }
}
