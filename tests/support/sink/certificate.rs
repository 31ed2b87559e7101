//! The sink's certificate. It must not know SMTP.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate that is its own authority, and its PEM for those who shall trust it.
pub(super) fn make(names: &[String], is_expired: bool) -> (TlsAcceptor, String) {
    let names = if names.is_empty() { vec!["localhost".to_owned()] } else { names.to_vec() };
    let mut parameters = rcgen::CertificateParams::new(names).expect("names for a certificate");
    if is_expired {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a usable certificate");
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}
