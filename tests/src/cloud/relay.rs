//! TLS in front of a port that does not speak it, with a certificate of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

/// A relay on loopback. It listens until it is dropped.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate by which it is to be trusted, as PEM.
    pub certificate: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port, in front of another one of loopback; its certificate is put into a folder.
    pub async fn start(folder: &Path, behind: u16) -> Result<Relay> {
        let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        let certificate = folder.join("relay.pem");
        std::fs::write(&certificate, made.cert.pem())?;
        let key = made.signing_key.serialize_der().try_into().map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the relay cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                // A peer that goes, or that does not trust it, is no fault of the relay's.
                tokio::spawn(async move {
                    let mut from = acceptor.accept(from).await?;
                    let mut to = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Ok(Relay { address, certificate, task })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use rollcall_control::source::openstack::notify::{Settings, listen};

    use super::*;

    #[tokio::test]
    async fn broker_whose_certificate_nobody_knows_is_refused_and_that_is_said() -> Result<()> {
        let folder = tempfile::tempdir()?;
        // Nobody gets as far as what is behind it.
        let relay = Relay::start(folder.path(), 1).await?;
        let url_file = folder.path().join("url");
        std::fs::write(&url_file, format!("amqps://u:hunter2@{}/%2f", relay.address))?;
        std::fs::set_permissions(&url_file, std::fs::Permissions::from_mode(0o600))?;
        let settings = Settings { url_file, exchanges: vec!["nova".into()], topics: vec!["notifications".into()], cacert: None };
        let (_changes, standing) = listen(settings, "cloud").map_err(|error| anyhow::anyhow!("{error}"))?;
        let trouble = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let trouble = standing.trouble.lock().ok().and_then(|trouble| trouble.clone());
                match trouble {
                    Some(trouble) => return trouble,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await
        .context("nothing was said")?;
        assert!(trouble.contains("certificate") && !trouble.contains("hunter2"), "{trouble}");
        assert!(!standing.connected.load(Ordering::Relaxed));
        Ok(())
    }
}
