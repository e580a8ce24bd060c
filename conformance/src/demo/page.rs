//! The sample page's server: four files over plain HTTP on loopback, as some static file server would
//! stand behind the BFF. It must not know that anybody logs in.

use std::{future::IntoFuture as _, io, net::Ipv4Addr};

use axum::{Router, http::Uri, response::Response, routing::get};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::{net::TcpListener, task::JoinHandle};

const INDEX: &str = include_str!("../../demo/index.html");
const FILES: [(&str, &str, &str); 3] = [
    ("/app.css", "text/css; charset=utf-8", include_str!("../../demo/app.css")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../../demo/app.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../../demo/icon.svg")),
];

/// What the page may do: run its one script, wear its one style, talk to its own origin. Nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";

/// The running server. Dropping it stops it.
#[derive(Debug)]
pub struct PageServer {
    task: JoinHandle<io::Result<()>>,
}

impl PageServer {
    /// Serves the page on 127.0.0.1.
    pub async fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let router = Router::new().fallback(get(async |uri: Uri| file(uri.path())));
        Ok(Self { task: tokio::spawn(axum::serve(listener, router).into_future()) })
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A file, or the page itself for every path that names no file: the app routes by its address.
fn file(path: &str) -> Response {
    let found = FILES.into_iter().find(|(name, ..)| *name == path);
    let last = path.rsplit('/').next().unwrap_or_default();
    let (status, kind, body) = match found {
        Some((_, kind, body)) => (StatusCode::OK, kind, body),
        None if last.contains('.') => (StatusCode::NOT_FOUND, "text/plain", "no such file\n"),
        None => (StatusCode::OK, "text/html; charset=utf-8", INDEX),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        // The address of the page holds the login's answer for a moment.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_its_policy_would_block() {
        for forbidden in ["<style", "style=", "onclick", "onload", "http:", "https:", "javascript:"]
        {
            assert!(!INDEX.contains(forbidden), "{forbidden}");
        }
        assert_eq!(INDEX.matches("<script").count(), 1);
        assert!(INDEX.contains("<script type=\"module\" src=\"/app.js\"></script>"));
        for sink in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!FILES[1].2.contains(sink), "{sink}");
        }
    }

    #[test]
    fn every_element_the_script_asks_for_exists() {
        let script = FILES[1].2;
        let ids: Vec<&str> =
            script.split("element(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(ids.len() > 10, "{ids:?}");
        for id in ids {
            assert!(INDEX.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn paths_of_the_app_answer_the_page_and_unknown_files_do_not() {
        assert_eq!(file("/accounts").headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(
            file("/app.js").headers()[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        assert_eq!(file("/missing.js").status(), StatusCode::NOT_FOUND);
    }
}
