//! Bytes on a TLS connection of our own, for requests that no HTTP library would send. It must not
//! know what is asked, nor judge what comes back.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use super::browser::Browser;
use crate::pki::{APP_HOST, Pki};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the BFF that speaks HTTP/1.1.
#[derive(Debug)]
pub struct Line(TlsStream<TcpStream>);

impl Line {
    /// A connection to the BFF at this origin, which is on this machine.
    pub async fn open(pki: &Pki, origin: &str) -> Result<Self, String> {
        let port = Url::parse(origin).ok().and_then(|url| url.port_or_known_default());
        let port = port.ok_or_else(|| format!("{origin:?} is no origin"))?;
        let mut config = pki.client_config(None).map_err(|fault| fault.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = APP_HOST.to_owned().try_into();
        let name = name.map_err(|_| format!("{APP_HOST:?} is no host name"))?;
        let connecting = async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        connecting.await.map(Self).map_err(|error| format!("no connection to {origin}: {error}"))
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
