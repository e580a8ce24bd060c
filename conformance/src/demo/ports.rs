//! The ports of the demo: which there are, how the configuration is told of other ones, and a clear
//! word when one is taken. It must not know what listens on them.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use url::Url;

use crate::pki::{API_HOST, APP_HOST, AS_HOST};

/// Six ports on 127.0.0.1; 0 stands for any free one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The BFF, where the browser goes.
    pub bff: u16,
    /// The authorization server's plain listener.
    pub authorization_server: u16,
    /// Its mutual-TLS listener.
    pub mtls: u16,
    /// The sample API.
    pub api: u16,
    /// The sample page.
    pub page: u16,
    /// The BFF's metrics and health.
    pub admin: u16,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortFault {
    /// Somebody else listens on it.
    #[error("port {port} for {role} is taken; choose another one with {flag}")]
    Taken {
        /// The port.
        port: u16,
        /// Who needs it.
        role: &'static str,
        /// The option that changes it.
        flag: &'static str,
    },
    /// The system refuses it.
    #[error("port {port} for {role} cannot be opened ({source}); choose another one with {flag}")]
    Refused {
        /// The port.
        port: u16,
        /// Who needs it.
        role: &'static str,
        /// The option that changes it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Ports {
    /// Those of the committed configuration file.
    pub const CONFIGURED: Self = Self {
        bff: 8443,
        authorization_server: 9443,
        mtls: 9444,
        api: 9445,
        page: 9446,
        admin: 9090,
    };
    /// Any free ones.
    pub const ANY: Self =
        Self { bff: 0, authorization_server: 0, mtls: 0, api: 0, page: 0, admin: 0 };

    /// Replaces zeros by free ports and makes sure that all can be had. All are held at the same time,
    /// so they differ, and let go on return: everyone has to know everyone's port before he can start.
    pub fn settle(mut self) -> Result<Self, PortFault> {
        let all = [
            (&mut self.bff, "the BFF", "--port"),
            (&mut self.authorization_server, "the authorization server", "--as-port"),
            (&mut self.mtls, "the authorization server's mutual TLS", "--mtls-port"),
            (&mut self.api, "the sample API", "--api-port"),
            (&mut self.page, "the sample page", "--page-port"),
            (&mut self.admin, "metrics and health", "--admin-port"),
        ];
        let mut held = Vec::new();
        for (port, role, flag) in all {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
                .and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
            match listener {
                Ok((actual, listener)) => {
                    *port = actual;
                    held.push(listener);
                }
                Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
                    return Err(PortFault::Taken { port: *port, role, flag });
                }
                Err(source) => return Err(PortFault::Refused { port: *port, role, flag, source }),
            }
        }
        Ok(self)
    }

    /// The environment variables that tell the configuration of every port it does not have already.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let configured = Self::CONFIGURED;
        let local = |port| format!("127.0.0.1:{port}");
        let https = |host, port, path| format!("https://{host}:{port}{path}");
        let origin = https(APP_HOST, self.bff, "");
        // A browser writes no default port.
        let origin = Url::parse(&origin).map_or(origin, |url| url.origin().ascii_serialization());
        [
            (self.bff, configured.bff, "SERVER__LISTEN", local(self.bff)),
            (self.bff, configured.bff, "APPS__WEB__ORIGIN", origin),
            (self.admin, configured.admin, "ADMIN__LISTEN", local(self.admin)),
            (
                self.authorization_server,
                configured.authorization_server,
                "PROVIDERS__AS__ISSUER",
                https(AS_HOST, self.authorization_server, "/as/"),
            ),
            (
                self.page,
                configured.page,
                "APPS__WEB__ROUTES__0__UPSTREAM",
                format!("http://{}", local(self.page)),
            ),
            (
                self.api,
                configured.api,
                "APPS__WEB__ROUTES__1__UPSTREAM",
                https(API_HOST, self.api, ""),
            ),
        ]
        .into_iter()
        .filter(|(port, configured, ..)| port != configured)
        .map(|(_, _, setting, value)| (format!("FAPI_BFF__{setting}"), value))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_ports_are_six_different_ones() {
        let ports = Ports::ANY.settle().unwrap();
        let mut all =
            [ports.bff, ports.authorization_server, ports.mtls, ports.api, ports.page, ports.admin];
        all.sort_unstable();
        assert!(all[0] > 0 && all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    #[test]
    fn a_taken_port_is_told_with_the_option_that_changes_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let fault = Ports { api: port, ..Ports::ANY }.settle().unwrap_err().to_string();
        assert_eq!(
            fault,
            format!("port {port} for the sample API is taken; choose another one with --api-port")
        );
        let free = Ports::ANY.settle().unwrap().bff;
        let twice = Ports { bff: free, page: free, ..Ports::ANY }.settle().unwrap_err();
        assert!(matches!(twice, PortFault::Taken { flag: "--page-port", .. }), "{twice:?}");
    }

    #[test]
    fn only_other_ports_are_overridden_and_a_default_port_is_not_written() {
        assert_eq!(Ports::CONFIGURED.overrides(), []);
        let ports = Ports { bff: 443, ..Ports::CONFIGURED };
        let expected = [
            ("FAPI_BFF__SERVER__LISTEN", "127.0.0.1:443"),
            ("FAPI_BFF__APPS__WEB__ORIGIN", "https://app.localhost"),
        ];
        assert_eq!(ports.overrides(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
