//! TLS with TCP endpoints (Docker docs, *Protect the Docker daemon socket*): the certificates,
//! and what to do about a handshake that fails.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error};
use std::path::{Path, PathBuf};
use stepback_core::{Failure, FailureClass};

/// The certificates for TLS with TCP endpoints.
#[derive(Clone, Debug)]
pub struct Tls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Choose this process's cryptography, once; whoever makes a TLS connection calls it first.
pub(super) fn choose_cryptography() {
    // Another part of this process may have chosen already; any choice does.
    let _ = default_provider().install_default();
}

impl Tls {
    /// Whether the files hold what they are to hold: what can't be used would be left out of the
    /// handshake without a word.
    ///
    /// # Errors
    /// The file that can't be used, and why.
    pub(super) fn check(&self) -> Result<(), Failure> {
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
        certificates(&self.ca)?;
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|_| unusable(&self.key, "holds no private key in PEM".to_owned()))?;
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(_) => Ok(()),
            Err(error) => {
                let why = format!("does not go with {}: {error}", self.cert.display());
                Err(unusable(&self.key, why))
            }
        }
    }
}

/// What to do about a failed handshake.
pub(super) fn advice(error: &Error) -> &'static str {
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
            | AlertDescription::AccessDenied,
        ) => "the engine does not take the certificate in `tls.cert`: give one of the CA it trusts",
        Error::InvalidMessage(_) => {
            "what listens there speaks no TLS: start it with --tlsverify, or leave out `tls`"
        }
        _ => "check `tls` of the environment's `docker` table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_nothing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let tls = Tls { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
        let failure = tls.check().unwrap_err();
        assert!(failure.message.contains("ca.pem can't be read"), "{failure}");
        std::fs::write(&tls.ca, "not PEM").unwrap();
        let failure = tls.check().unwrap_err();
        assert!(failure.message.contains("ca.pem holds no certificate"), "{failure}");
    }
}
