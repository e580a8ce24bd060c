//! How an authorization server conducts itself: the few choices that a profile and its variant make,
//! and what follows from them without looking at a request.

use crate::{
    jws::Alg,
    ledger::{Endpoint, ListenerKind},
};

/// The family of profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// FAPI 2.0, Security Profile or Message Signing.
    Fapi2,
    /// FAPI 1.0 Advanced.
    Fapi1,
    /// OpenID Connect without a security profile.
    Oidc,
}

/// How an authorization request reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestMethod {
    /// The client pushes it (RFC 9126); the browser brings its `request_uri`.
    Pushed,
    /// The browser brings it: a request object by value, or plain parameters.
    ByValue,
}

/// What comes back of an authorization request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseForm {
    /// A signed response (JARM) with the code in it.
    Jarm,
    /// The code and what goes with it, as plain parameters.
    Plain,
    /// The code and an ID token that signs it (`code id_token`).
    Hybrid,
}

/// How clients authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// A certificate by a known authority (RFC 8705 §2.1).
    TlsClientAuth,
    /// A certificate that is registered itself (RFC 8705 §2.2).
    SelfSignedTls,
    /// A secret in the Authorization header (RFC 6749 §2.3.1).
    SecretBasic,
    /// A secret in the form.
    SecretPost,
}

impl ClientAuth {
    /// The method's name in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTls => "self_signed_tls_client_auth",
            Self::SecretBasic => "client_secret_basic",
            Self::SecretPost => "client_secret_post",
        }
    }

    /// Whether the client certificate is what authenticates.
    pub const fn is_mtls(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTls)
    }
}

/// What an access token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The client certificate (RFC 8705 §3).
    Mtls,
    /// The key of a DPoP proof (RFC 9449).
    Dpop,
    /// Nothing.
    None,
}

impl Constraint {
    /// `token_type`, and the scheme tokens are presented by.
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Dpop => "DPoP",
            Self::Mtls | Self::None => "Bearer",
        }
    }
}

/// Which listener an endpoint is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Only(ListenerKind),
    Either,
}

/// How a server conducts itself: towards every client alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// The family of profiles.
    pub family: Family,
    /// How authorization requests arrive.
    pub request_method: RequestMethod,
    /// Whether they are signed request objects.
    pub signed_requests: bool,
    /// What comes back of them.
    pub response: ResponseForm,
    /// Whether they are OpenID Connect's: `openid` is asked for, and an ID token comes.
    pub openid: bool,
    /// How clients authenticate.
    pub client_auth: ClientAuth,
    /// What access tokens are bound to.
    pub constraint: Constraint,
}

impl Conduct {
    /// FAPI 2.0 Message Signing: signed requests and responses, certificate-bound tokens.
    pub const fn message_signing() -> Self {
        Self {
            family: Family::Fapi2,
            request_method: RequestMethod::Pushed,
            signed_requests: true,
            response: ResponseForm::Jarm,
            openid: true,
            client_auth: ClientAuth::PrivateKeyJwt,
            constraint: Constraint::Mtls,
        }
    }

    /// FAPI 2.0 Security Profile: plain parameters, pushed; plain `code`, `state` and `iss` back.
    pub const fn security_profile() -> Self {
        Self { signed_requests: false, response: ResponseForm::Plain, ..Self::message_signing() }
    }

    /// FAPI 1.0 Advanced: a request object by value, `code id_token` back.
    pub const fn fapi1_advanced() -> Self {
        Self {
            family: Family::Fapi1,
            request_method: RequestMethod::ByValue,
            response: ResponseForm::Hybrid,
            ..Self::message_signing()
        }
    }

    /// OpenID Connect's code flow: plain parameters in the address, a secret, bearer tokens.
    pub const fn openid_connect() -> Self {
        Self {
            family: Family::Oidc,
            request_method: RequestMethod::ByValue,
            signed_requests: false,
            response: ResponseForm::Plain,
            openid: true,
            client_auth: ClientAuth::SecretBasic,
            constraint: Constraint::None,
        }
    }

    /// The algorithm such a server usually signs with.
    pub const fn usual_alg(self) -> Alg {
        match self.family {
            Family::Fapi2 | Family::Fapi1 => Alg::Es256,
            Family::Oidc => Alg::Rs256,
        }
    }

    /// What clients may sign with (FAPI 2.0 SP 5.4.1, FAPI 1.0 Advanced 8.6).
    pub(super) const fn client_algs(self) -> &'static [Alg] {
        match self.family {
            Family::Fapi2 => &[Alg::Es256, Alg::Ps256, Alg::EdDsa],
            Family::Fapi1 => &[Alg::Es256, Alg::Ps256],
            Family::Oidc => &[Alg::Es256, Alg::Ps256, Alg::EdDsa, Alg::Rs256],
        }
    }

    pub(super) const fn response_type(self) -> &'static str {
        match self.response {
            ResponseForm::Jarm | ResponseForm::Plain => "code",
            ResponseForm::Hybrid => "code id_token",
        }
    }

    /// What `response_mode` may be, the usual one first; `None` if it may be left out.
    pub(super) const fn response_modes(self) -> &'static [Option<&'static str>] {
        match self.response {
            ResponseForm::Jarm => &[Some("jwt"), Some("query.jwt"), Some("form_post.jwt")],
            ResponseForm::Plain => &[Some("query"), Some("form_post"), None],
            ResponseForm::Hybrid => &[Some("fragment"), Some("form_post"), None],
        }
    }

    /// Whether there must be a PKCE challenge.
    pub(super) const fn needs_challenge(self) -> bool {
        match self.family {
            Family::Fapi2 => true,
            // FAPI 1.0 Advanced 5.2.2-18
            Family::Fapi1 => self.is_pushed(),
            Family::Oidc => false,
        }
    }

    /// Whether the issuer stands beside the code (RFC 9207).
    pub(super) const fn names_issuer(self) -> bool {
        matches!(self.family, Family::Fapi2)
    }

    pub(super) const fn is_pushed(self) -> bool {
        matches!(self.request_method, RequestMethod::Pushed)
    }

    pub(super) const fn binds_certificates(self) -> bool {
        matches!(self.constraint, Constraint::Mtls)
    }

    pub(super) const fn uses_dpop(self) -> bool {
        matches!(self.constraint, Constraint::Dpop)
    }

    /// Whether there is anything to do by mutual TLS.
    pub(super) const fn uses_mtls(self) -> bool {
        self.client_auth.is_mtls() || self.binds_certificates()
    }

    /// The listener of an endpoint, as in the conformance suite.
    pub(super) fn door(self, endpoint: Endpoint) -> Door {
        let only_if =
            |mtls, otherwise| if mtls { Door::Only(ListenerKind::Mtls) } else { otherwise };
        let authenticates = self.client_auth.is_mtls();
        let plain = Door::Only(ListenerKind::Plain);
        match endpoint {
            Endpoint::Par | Endpoint::Revocation | Endpoint::Introspection => {
                only_if(authenticates, Door::Either)
            }
            Endpoint::Token => only_if(authenticates || self.binds_certificates(), Door::Either),
            // The suite's FAPI 1.0 names an alias for it and does not serve it there.
            Endpoint::Userinfo if self.family == Family::Fapi1 => plain,
            Endpoint::Userinfo => only_if(self.binds_certificates(), Door::Either),
            Endpoint::Accounts => only_if(self.binds_certificates(), plain),
            _ => plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conformance suite's table of hosts.
    #[test]
    fn each_endpoint_is_on_the_listener_of_the_suite() {
        let mtls = Door::Only(ListenerKind::Mtls);
        let plain = Door::Only(ListenerKind::Plain);
        let (sp, fapi1) = (Conduct::security_profile(), Conduct::fapi1_advanced());
        let dpop = Conduct { constraint: Constraint::Dpop, ..sp };
        let by_certificate =
            |conduct| Conduct { client_auth: ClientAuth::TlsClientAuth, ..conduct };
        let cases = [
            (fapi1, [Door::Either, mtls, plain, mtls]),
            (by_certificate(fapi1), [mtls, mtls, plain, mtls]),
            (sp, [Door::Either, mtls, mtls, mtls]),
            (by_certificate(sp), [mtls, mtls, mtls, mtls]),
            (dpop, [Door::Either, Door::Either, Door::Either, plain]),
            (by_certificate(dpop), [mtls, mtls, Door::Either, plain]),
        ];
        for (conduct, doors) in cases {
            let endpoints =
                [Endpoint::Par, Endpoint::Token, Endpoint::Userinfo, Endpoint::Accounts];
            assert_eq!(endpoints.map(|endpoint| conduct.door(endpoint)), doors, "{conduct:?}");
            for endpoint in [Endpoint::Metadata, Endpoint::Jwks, Endpoint::Authorize] {
                assert_eq!(conduct.door(endpoint), plain);
            }
        }
    }

    #[test]
    fn a_challenge_may_be_missing_only_where_nothing_is_pushed() {
        let pushed = |conduct| Conduct { request_method: RequestMethod::Pushed, ..conduct };
        assert!(Conduct::security_profile().needs_challenge());
        assert!(pushed(Conduct::fapi1_advanced()).needs_challenge());
        assert!(!Conduct::fapi1_advanced().needs_challenge());
        assert!(!pushed(Conduct::openid_connect()).needs_challenge());
    }
}
