//! Bytes on a TLS connection of our own, for requests that no HTTP library would send.

use std::sync::Arc;

use fapi_bff_conformance::{demo::browser::Browser, pki::APP_HOST};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Bed, soon};

/// A connection to the public listener that speaks HTTP/1.1.
pub(super) struct Line(TlsStream<TcpStream>);

impl Line {
    pub(super) async fn open(bed: &Bed) -> Self {
        let mut config = bed.pki.client_config(None).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(bed.bff.as_ref().unwrap().public_addr()).await.unwrap();
        let name = APP_HOST.to_owned().try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self(stream)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The server may have said no and hung up before the last byte.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// What comes up to and including `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&seen).contains(end) {
                let mut piece = [0; 4096];
                let count = self.0.read(&mut piece).await.unwrap();
                assert!(count > 0, "the stream ended: {}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..count]);
            }
        };
        soon(end, reading).await;
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// What comes up to the end of the connection.
    pub(super) async fn rest(mut self) -> String {
        let mut seen = Vec::new();
        // However it ends: what counts is what came.
        let _ = soon("the end of the connection", self.0.read_to_end(&mut seen)).await;
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// One request, and all that comes back until the server hangs up.
pub(super) async fn one(bed: &Bed, request: &str) -> String {
    let mut line = Line::open(bed).await;
    line.send(request.as_bytes()).await;
    line.rest().await
}

/// The head of an API call by the app's page, with more lines.
pub(super) fn api_head(
    bed: &Bed,
    browser: &Browser,
    method: &str,
    target: &str,
    lines: &[&str],
) -> String {
    let host = bed.origin.strip_prefix("https://").unwrap();
    let cookies: Vec<_> =
        browser.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\nX-BFF-CSRF: 1\r\n\
         Sec-Fetch-Site: same-origin\r\nOrigin: {}\r\n",
        cookies.join("; "),
        bed.origin
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}
