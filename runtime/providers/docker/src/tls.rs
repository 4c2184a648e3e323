//! TLS with TCP endpoints (Docker docs, *Protect the Docker daemon socket*): the certificates,
//! and what to do about a handshake that fails.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stepback_core::{Failure, FailureClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An engine answers a ping with less.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The certificates for TLS with TCP endpoints.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM file of the CA that the engines' certificates must be of.
    pub ca: PathBuf,
    /// PEM file of this client's own certificate, which engines ask for.
    pub cert: PathBuf,
    /// PEM file of the private key that goes with `cert`.
    pub key: PathBuf,
}

/// Choose this process's cryptography, once; whoever makes a TLS connection calls it first.
pub(super) fn choose_cryptography() {
    // Another part of this process may have chosen already; any choice does.
    let _ = default_provider().install_default();
}

impl Tls {
    /// What a connection is made with: an engine's certificate must be of this CA, and of no
    /// other.
    ///
    /// # Errors
    /// The file that can't be used, and why.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let (ca, own) = self.read()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(ca);
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)));
        Ok(Arc::new(config))
    }

    /// The certificates of the CA, and this client's own with its key.
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, CertifiedKey), Failure> {
        let unusable = |path: &Path, why: String| {
            let message = format!("`tls` of the environment's `docker` table: {}", path.display());
            Failure::new(FailureClass::Precondition, format!("{message} {why}")).with_code("tls")
        };
        let read = |path: &Path| {
            let read = std::fs::read(path);
            read.map_err(|error| unusable(path, format!("can't be read: {error}")))
        };
        let certificates = |path: &Path| {
            let pem = read(path)?;
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            match all {
                Ok(all) if !all.is_empty() => Ok(all),
                _ => Err(unusable(path, "holds no certificate in PEM".to_owned())),
            }
        };
        let ca = certificates(&self.ca)?;
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|_| unusable(&self.key, "holds no private key in PEM".to_owned()))?;
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(own) => Ok((ca, own)),
            Err(error) => {
                let why = format!("does not go with {}: {error}", self.cert.display());
                Err(unusable(&self.key, why))
            }
        }
    }

    /// The alert that the engine at `at` (`10.0.1.11:2376`) ends a TLS connection with, where a
    /// request over one broke off without telling.
    ///
    /// In TLS 1.3 a server looks at the client's certificate when the client is done with the
    /// handshake (RFC 8446, section 2), so its alert comes when a request may be on its way, and
    /// who is busy sending sees a closed connection. Here all that it says is read.
    pub(super) async fn objection(&self, at: &str) -> Option<Error> {
        let config = self.config().ok()?;
        let host = at.rsplit_once(':')?.0.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let tcp = TcpStream::connect(at).await.ok()?;
        let said = async {
            let mut stream = TlsConnector::from(config).connect(name, tcp).await?;
            // Whether this arrives is no matter: an alert may have come before it.
            let _ = stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await;
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut Vec::new()).await
        };
        let error: Error = said.await.err()?.downcast().ok()?;
        matches!(error, Error::AlertReceived(_)).then_some(error)
    }
}

/// A failed handshake with `what`, and what to do about it.
pub(super) fn refused(error: &Error, what: &str) -> Failure {
    Failure::new(FailureClass::Denied, format!("{what}: {error}; {}", advice(error)))
        .with_code("tls")
}

/// What to do about a failed handshake.
fn advice(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "name the engine as its certificate does, or make one with this name or address in it",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the engine's certificate has expired: make a new one, or set this machine's clock",
        Error::InvalidCertificate(_) => {
            "the engine's certificate is not of the CA in `tls.ca`: give the CA that it is of"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied
            // Of a CA that was made anew under its old name.
            | AlertDescription::DecryptError,
        ) => "the engine does not take the certificate in `tls.cert`: give one of the CA it trusts",
        Error::InvalidMessage(_) => {
            "what listens there speaks no TLS: start it with --tlsverify, or leave out `tls`"
        }
        _ => "check `tls` of the environment's `docker` table",
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Engine;
    use super::*;
    use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use stepback_clock::Clock;
    use stepback_provider::endpoint::Endpoint;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn ca() -> Issuer {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(ca: &Issuer) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, ca).unwrap(), key)
    }

    /// The settings of a client that trusts `ca` and is of `of`.
    fn settings(dir: &Path, ca: &Issuer, of: &Issuer) -> Tls {
        let path = |name: &str| dir.join(name);
        let tls = Tls { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
        let (cert, key) = leaf(of);
        std::fs::write(&tls.ca, ca.pem()).unwrap();
        std::fs::write(&tls.cert, cert.pem()).unwrap();
        std::fs::write(&tls.key, key.serialize_pem()).unwrap();
        tls
    }

    /// A server for clients of `ca` alone that closes the first connection without a word.
    async fn server(ca: &Issuer) -> String {
        choose_cryptography();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let (cert, key) = leaf(ca);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = |config: rustls::ConfigBuilder<_, _>| {
            let chain = vec![cert.der().clone()];
            Arc::new(config.with_single_cert(chain, key.clone_key()).unwrap())
        };
        let silent = config(ServerConfig::builder().with_no_client_auth());
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let strict = config(ServerConfig::builder().with_client_cert_verifier(verifier));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            drop(TlsAcceptor::from(silent).accept(tcp).await);
            while let Ok((tcp, _)) = listener.accept().await {
                let _ = TlsAcceptor::from(strict.clone()).accept(tcp).await;
            }
        });
        at
    }

    #[tokio::test]
    async fn a_refused_certificate_is_told_even_if_a_connection_broke_off() {
        let (own, other) = (ca(), ca());
        let dir = tempfile::tempdir().unwrap();
        let tls = settings(dir.path(), &own, &other);
        let endpoint = Endpoint::Tcp(server(&own).await);
        let clock = Clock::real();
        let engine = Engine::connect("i-1", endpoint, "/dev".into(), Some(&tls), &clock).await;
        let failure = engine.err().expect("it is refused");
        assert_eq!(failure.code.as_deref(), Some("tls"), "{failure}");
        assert!(failure.message.contains("does not take the certificate"), "{failure}");
    }

    #[tokio::test]
    async fn a_connection_that_broke_off_is_not_blamed_on_a_certificate() {
        let own = ca();
        let dir = tempfile::tempdir().unwrap();
        let tls = settings(dir.path(), &own, &own);
        let endpoint = Endpoint::Tcp(server(&own).await);
        let clock = Clock::real();
        let engine = Engine::connect("i-1", endpoint, "/dev".into(), Some(&tls), &clock).await;
        let failure = engine.err().expect("it broke off");
        assert_eq!(failure.code.as_deref(), Some("no-answer"), "{failure}");
    }

    #[test]
    fn files_that_hold_nothing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let tls = Tls { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
        let failure = tls.config().unwrap_err();
        assert!(failure.message.contains("ca.pem can't be read"), "{failure}");
        std::fs::write(&tls.ca, "not PEM").unwrap();
        let failure = tls.config().unwrap_err();
        assert!(failure.message.contains("ca.pem holds no certificate"), "{failure}");
    }
}
