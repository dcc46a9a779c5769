//! TLS 1.2 and 1.3 for both roles, by rustls over ring.
//!
//! Trust comes from files that the configuration names, never from the system: a venue says which authority signs its
//! certificate. Absent: revocation lists, session tickets kept over a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::secret::{read_bounded, read_private};

/// A certificate chain and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our certificate first, then what it is signed by.
    pub certificate: PathBuf,
    /// Readable by its owner only.
    pub key: PathBuf,
}

/// TLS of an acceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// What we show.
    pub identity: Identity,
    /// Demands a certificate signed by one of these.
    pub client_ca: Option<PathBuf>,
}

/// TLS of an initiator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Who may sign the acceptor's certificate.
    pub ca: PathBuf,
    /// The name that it must carry; the host's without it.
    pub server_name: Option<String>,
    /// What we show if we are asked.
    pub identity: Option<Identity>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let place = path.display();
    let pem = read_bounded(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{place}: there is no certificate in it (PEM is expected)")),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_private(path)?;
    // The parser's error could quote the content.
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{}: there is no private key in it (PEM is expected)", path.display()))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(store)
}

impl ServerTls {
    /// Reads the files.
    pub fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates(&self.identity.certificate)?;
        let config = builder
            .with_single_cert(chain, key(&self.identity.key)?)
            .map_err(|error| mismatch(&self.identity, &error))?;
        Ok(Arc::new(config))
    }
}

fn mismatch(identity: &Identity, error: &rustls::Error) -> String {
    format!("{} and {}: {error}", identity.certificate.display(), identity.key.display())
}

impl ClientTls {
    /// Reads the files.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots(&self.ca)?);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(certificates(&identity.certificate)?, key(&identity.key)?)
                .map_err(|error| mismatch(identity, &error))?,
        };
        Ok(Arc::new(config))
    }

    /// The name to check, of a host without its port.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, String> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a TLS server"))
    }
}
