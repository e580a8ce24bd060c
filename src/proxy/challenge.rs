//! Owns what an upstream's refusal says about the credential that was sent with the request.
//! Must not know: what is done about it.

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};

use crate::protocol::{Challenge, Nonce, NonceRejected, StepUp, StepUpRejected, challenges};

/// The header an upstream hands its nonces out in (RFC 9449 §9).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What an upstream objects to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Objection {
    /// Nothing that concerns us: its answer, whatever it is, is the page's.
    None,
    /// The proof must hold the nonce it gives (DPOP-9), if it gives one.
    Nonce(Result<(), NonceRejected>),
    /// The proof is not good; another one would be no better.
    Proof,
    /// The access token is not valid (BRR-3.1).
    Token,
    /// The user must authenticate otherwise (STEP-3), if it says how.
    Authentication(Result<StepUp, StepUpRejected>),
}

impl Objection {
    /// Stable machine reason, for the log.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Nonce(Ok(())) => Some("upstream.nonce_demanded"),
            Self::Nonce(Err(rejected)) => Some(rejected.reason()),
            Self::Proof => Some("upstream.proof_invalid"),
            Self::Token => Some("upstream.token_invalid"),
            Self::Authentication(Ok(_)) => Some("upstream.step_up_demanded"),
            Self::Authentication(Err(rejected)) => Some(rejected.reason()),
        }
    }
}

/// Reads an answer to a request that carried a `DPoP` proof or a bearer token.
///
/// Only challenges of the scheme that was used speak of the credential: that an upstream would have
/// a bearer token too is no reason to hand it one (DPOP-7.2).
pub fn objection(status: StatusCode, headers: &HeaderMap, dpop: bool) -> Objection {
    if status != StatusCode::UNAUTHORIZED {
        return Objection::None;
    }
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let challenges: Vec<Challenge> =
        lines.flat_map(|line| challenges(&String::from_utf8_lossy(line.as_bytes()))).collect();
    let scheme = if dpop { "DPoP" } else { "Bearer" };
    let says = |error| challenges.iter().any(|c| c.is(scheme) && c.says(error));
    if dpop {
        match Nonce::demanded_by_resource(status.as_u16(), &challenges, offered(headers)) {
            Ok(None) => {}
            Ok(Some(_)) => return Objection::Nonce(Ok(())),
            Err(rejected) => return Objection::Nonce(Err(rejected)),
        }
        if says("invalid_dpop_proof") {
            return Objection::Proof;
        }
    }
    if says("invalid_token") {
        return Objection::Token;
    }
    match StepUp::demanded(&challenges).transpose() {
        None => Objection::None,
        Some(demand) => Objection::Authentication(demand),
    }
}

/// The values of an answer's `DPoP-Nonce`.
pub fn offered(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(DPOP_NONCE).iter().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dpop: bool, lines: &[&'static str], nonces: &[&'static str]) -> Objection {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        for nonce in nonces {
            headers.append(DPOP_NONCE, HeaderValue::from_static(nonce));
        }
        for status in [200, 400, 403, 407] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(objection(status, &headers, dpop), Objection::None);
        }
        objection(StatusCode::UNAUTHORIZED, &headers, dpop)
    }

    /// DPOP-7.1, DPOP-7.2.
    #[test]
    fn only_the_scheme_that_was_used_speaks_of_the_credential() {
        const BEARER: &str = r#"Bearer error="invalid_token""#;
        const DPOP: &str = r#"dpop algs="ES256", error="invalid_token""#;
        for (dpop, lines, objection) in [
            (false, &[BEARER][..], Objection::Token),
            (false, &["Basic realm=\"x\"", BEARER], Objection::Token),
            (false, &[DPOP, BEARER], Objection::Token),
            (false, &[DPOP], Objection::None),
            (true, &[DPOP], Objection::Token),
            (true, &[BEARER, DPOP], Objection::Token),
            (true, &[BEARER], Objection::None),
            (true, &["Bearer"], Objection::None),
            (true, &["DPoP error=invalid_dpop_proof"], Objection::Proof),
            (true, &["Bearer error=invalid_dpop_proof"], Objection::None),
            (false, &["DPoP error=invalid_dpop_proof"], Objection::None),
            (true, &["DPoP error=insufficient_scope"], Objection::None),
            (false, &["Bearer error=insufficient_scope"], Objection::None),
            (false, &[], Objection::None),
        ] {
            assert_eq!(read(dpop, lines, &[]), objection, "{dpop} {lines:?}");
        }
    }

    /// DPOP-9.
    #[test]
    fn a_nonce_is_demanded_of_proofs_only() {
        let demand = &["DPoP error=\"use_dpop_nonce\""][..];
        assert_eq!(read(true, demand, &["n"]), Objection::Nonce(Ok(())));
        assert_eq!(read(true, demand, &[]), Objection::Nonce(Err(NonceRejected::Missing)));
        assert_eq!(
            read(true, demand, &["n", "n"]),
            Objection::Nonce(Err(NonceRejected::Duplicate))
        );
        assert_eq!(read(true, demand, &["a b"]), Objection::Nonce(Err(NonceRejected::Malformed)));
        assert_eq!(read(false, demand, &["n"]), Objection::None);
        // Both at once: first the nonce, or the token would be renewed for nothing.
        let both = &["DPoP error=invalid_token", "DPoP error=use_dpop_nonce"][..];
        assert_eq!(read(true, both, &["n"]), Objection::Nonce(Ok(())));
    }

    /// STEP-3.
    #[test]
    fn a_step_up_challenge_is_read_with_either_scheme() {
        let demand = StepUp { max_age: Some(5), ..StepUp::default() };
        for line in [
            "Bearer error=insufficient_user_authentication, max_age=5",
            "DPoP error=insufficient_user_authentication, max_age=5, error_description=\"\u{e9}\"",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            for dpop in [true, false] {
                let objection = objection(StatusCode::UNAUTHORIZED, &headers, dpop);
                assert_eq!(objection, Objection::Authentication(Ok(demand.clone())), "{line}");
            }
        }
        let malformed =
            read(false, &["Bearer error=insufficient_user_authentication, max_age=-5"], &[]);
        assert_eq!(malformed, Objection::Authentication(Err(StepUpRejected::MaxAge)));
    }
}
