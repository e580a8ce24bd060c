//! Owns name resolution for both HTTP clients: a name becomes only addresses the policy allows.
//! Must not know ports, protocols or who asks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use url::Url;

use super::policy::{Network, NotAllowed, permit, url_allowed};

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveFault {
    /// Every address of the name lies outside the policy (META-PRJ).
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The name has no address, or nobody could be asked.
    #[error("name resolution failed: {0}")]
    Unresolved(#[source] std::io::Error),
}

/// Resolves names under a network policy. Since the check is on the very addresses that are then
/// connected to, a name that changes its answer between check and use gains nothing.
#[derive(Clone, Debug)]
pub struct Resolver {
    allowed: Arc<[Network]>,
}

impl Resolver {
    /// A resolver that yields addresses of the `allowed` networks only.
    pub fn new(allowed: &[Network]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Refuses a URL whose host is an address literal outside the policy.
    pub fn url_allowed(&self, url: &Url) -> Result<(), NotAllowed> {
        url_allowed(url, &self.allowed)
    }

    /// Refuses an address outside the policy.
    pub fn address_allowed(&self, address: IpAddr) -> Result<(), NotAllowed> {
        permit(address, &self.allowed)
    }

    /// The allowed addresses of `host`, in the order given; `localhost` and names below it are this
    /// machine without asking anybody (RFC 6761 §6.3). The port is 0, to be filled in.
    pub async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        let found: Vec<SocketAddr> = if is_localhost(host) {
            [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
                .map(|address| SocketAddr::new(address, 0))
                .to_vec()
        } else {
            tokio::net::lookup_host((host, 0)).await.map_err(ResolveFault::Unresolved)?.collect()
        };
        let allowed = self.only_allowed(found);
        if allowed.is_empty() { Err(NotAllowed.into()) } else { Ok(allowed) }
    }

    fn only_allowed(&self, mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        found.retain(|socket| self.address_allowed(socket.ip()).is_ok());
        found
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

impl tower_service::Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveFault;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.lookup(name.as_str()).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_and_names_below_it_are_this_machine_without_dns() {
        let resolver = Resolver::new(&[Network::Loopback]);
        for name in ["localhost", "LOCALHOST", "localhost.", "as.localhost", "a.b.Localhost."] {
            let addresses: Vec<IpAddr> =
                resolver.lookup(name).await.unwrap().iter().map(SocketAddr::ip).collect();
            assert_eq!(
                addresses,
                [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()],
                "{name}"
            );
        }
        assert!(!is_localhost("notlocalhost") && !is_localhost("localhost.example"));
    }

    #[tokio::test]
    async fn meta_prj_localhost_is_refused_where_loopback_is_not_allowed() {
        let resolver = Resolver::new(&[Network::Public, Network::Private]);
        assert!(matches!(resolver.lookup("localhost").await, Err(ResolveFault::NotAllowed(_))));
        // Spellings getaddrinfo understands but `url` never lets through.
        assert!(matches!(resolver.lookup("127.1").await, Err(ResolveFault::NotAllowed(_))));
    }

    #[test]
    fn of_a_mixed_answer_only_the_allowed_addresses_remain() {
        let answer = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|t| SocketAddr::new(t.parse().unwrap(), 0)).collect()
        };
        let resolver = Resolver::new(&[Network::Public]);
        let kept =
            resolver.only_allowed(answer(&["10.0.0.1", "9.9.9.9", "169.254.169.254", "::1"]));
        assert_eq!(kept, answer(&["9.9.9.9"]));
    }
}
