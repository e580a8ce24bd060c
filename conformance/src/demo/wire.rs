//! Bytes on a TLS connection of our own, for requests that no HTTP library would send. It must not
//! know what is asked, nor judge what comes back.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use super::browser::Browser;
use crate::pki::{Pki, PkiError};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// Not an address of an app.
    #[error("{0:?} is no https origin")]
    NoOrigin(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Whoever answers has a certificate that says nothing to the harness.
    #[error("no connection to {0}: its certificate is not trusted: {1}")]
    NotTrusted(String, rustls::Error),
    /// Nobody answers.
    #[error("no connection to {0}: {1}")]
    Io(String, io::Error),
}

/// A connection to the BFF that speaks HTTP/1.1.
#[derive(Debug)]
pub struct Line(TlsStream<TcpStream>);

impl Line {
    /// A connection to the BFF at this origin, under its own name and by what `pki` trusts. Names
    /// ending in `.localhost` mean this machine (RFC 6761 §6.3); others the system resolves.
    pub async fn open(pki: &Pki, origin: &str) -> Result<Self, LineFault> {
        let (host, name, port) = address(origin)?;
        let mut config = pki.client_config(None)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connecting = async {
            let stream = if host == "localhost" || host.ends_with(".localhost") {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?
            } else {
                TcpStream::connect((host.as_str(), port)).await?
            };
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(Self).map_err(
            |error| {
                let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                match tls {
                    Some(why @ rustls::Error::InvalidCertificate(_)) => {
                        LineFault::NotTrusted(origin.to_owned(), why.clone())
                    }
                    _ => LineFault::Io(origin.to_owned(), error),
                }
            },
        )
    }

    /// Sends these bytes. The server may have said no and hung up before the last one.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// What comes up to and including `end`.
    pub async fn until(&mut self, end: &str) -> Result<String, String> {
        let mut seen = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&seen).contains(end) {
                if !matches!(self.0.read_buf(&mut seen).await, Ok(1..)) {
                    return false;
                }
            }
            true
        };
        let came = tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false);
        let seen = String::from_utf8_lossy(&seen).into_owned();
        if came { Ok(seen) } else { Err(format!("{end:?} did not come, but {seen:?}")) }
    }

    /// What comes up to the end of the connection, however it ends.
    pub async fn rest(mut self) -> Result<String, String> {
        let mut seen = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut seen)).await;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        match ended {
            Ok(_) => Ok(seen),
            Err(_) => Err(format!("the connection was not ended after {seen:?}")),
        }
    }

    /// Sends one request; gives all that comes back until the server hangs up.
    pub async fn exchange(mut self, request: &str) -> Result<String, String> {
        self.send(request.as_bytes()).await;
        self.rest().await
    }
}

/// Host, its name in TLS, and port.
fn address(origin: &str) -> Result<(String, ServerName<'static>, u16), LineFault> {
    let parsed = Url::parse(origin).ok().filter(|url| url.scheme() == "https");
    let parts = parsed.as_ref().and_then(|url| {
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            // Without the brackets that it has in a URL.
            Host::Ipv6(address) => address.to_string(),
        };
        let name = ServerName::try_from(host.clone()).ok()?;
        Some((host, name, url.port_or_known_default()?))
    });
    parts.ok_or_else(|| LineFault::NoOrigin(origin.to_owned()))
}

/// The head of a call by the app's page, with this browser's cookies and with more lines.
pub fn head(origin: &str, browser: &Browser, method: &str, target: &str, lines: &[&str]) -> String {
    let host = origin.strip_prefix("https://").unwrap_or(origin);
    let cookies: Vec<_> =
        browser.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-BFF-CSRF: 1\r\n\
         Sec-Fetch-Site: same-origin\r\nOrigin: {origin}\r\n",
    );
    let cookies = (!cookies.is_empty()).then(|| format!("Cookie: {}", cookies.join("; ")));
    for line in cookies.as_deref().into_iter().chain(lines.iter().copied()) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::pki::crypto;

    /// A server for these names that says which one it was asked by; gives its port.
    async fn server(pki: &Pki, names: &[&str]) -> u16 {
        let identity = pki.issue_server(names).unwrap();
        let config = ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert_der().unwrap()], identity.key_der().unwrap())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
                let _ = stream.write_all(name.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_line_announces_and_verifies_the_origins_own_host() {
        let pki = Pki::generate("client").unwrap();
        let port = server(&pki, &["portal.localhost", "127.0.0.1"]).await;
        for (host, announced) in [("portal.localhost", "portal.localhost"), ("127.0.0.1", "nobody")]
        {
            let line = Line::open(&pki, &format!("https://{host}:{port}")).await.unwrap();
            assert_eq!(line.rest().await.unwrap(), announced);
        }
        let other = Line::open(&pki, &format!("https://app.localhost:{port}")).await;
        assert!(matches!(other, Err(LineFault::NotTrusted(..))), "{other:?}");
        let stranger = Pki::generate("client").unwrap();
        let unknown = Line::open(&stranger, &format!("https://portal.localhost:{port}")).await;
        assert!(matches!(unknown, Err(LineFault::NotTrusted(..))), "{unknown:?}");
    }

    #[tokio::test]
    async fn what_is_no_https_origin_is_connected_to_by_nobody() {
        let pki = Pki::generate("client").unwrap();
        for origin in ["", "app.localhost", "http://app.localhost:1", "https://"] {
            let line = Line::open(&pki, origin).await;
            assert!(matches!(line, Err(LineFault::NoOrigin(_))), "{origin}: {line:?}");
        }
        assert_eq!(address("https://[::1]:7").unwrap().0, "::1");
        assert_eq!(address("https://app.example").unwrap().2, 443);
    }
}
