//! Owns outbound connections: which addresses may be reached, and the two HTTP clients.
//! Must not know OAuth, nor what is sent.

mod oauth;
mod policy;
mod proxy;
mod resolver;
#[cfg(test)]
mod tests;

pub use oauth::{Answer, CallFailed, OAuthHttp, Refusal};
pub use policy::{Network, NotAllowed, network_of, url_allowed};
pub use proxy::{Connector, ProxyHttp, proxy_http};
pub use resolver::{ResolveFault, Resolver};
