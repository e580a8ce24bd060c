//! What a resource server of this security level checks of a request (RFC 6750, RFC 8705 §3, RFC 9449
//! §7, the `x-fapi` headers of FAPI 1.0), and the accounts resource whose call ends a conformance module.

use std::net::IpAddr;

use aws_lc_rs::rand;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    conduct::Family,
    core::{ActiveToken, Core, Inactive, Possession},
    dpop,
    exchange::{Call, INTERACTION_ID, Refusal, json_response},
    rules::Rule,
};
use crate::ledger::Endpoint;

const AUTH_DATE: HeaderName = HeaderName::from_static("x-fapi-auth-date");
const CUSTOMER_IP: HeaderName = HeaderName::from_static("x-fapi-customer-ip-address");

/// The one form of RFC 1123 dates that HTTP allows (RFC 9110 §5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// In the order in which they are found out.
const TOKEN_RULES: [Rule; 3] = [Rule::TokenUnknown, Rule::TokenRevoked, Rule::TokenExpired];

/// The same of what binds a token to a certificate.
const CERTIFICATE_RULES: [Rule; 2] =
    [Rule::BearerCertificateMissing, Rule::BearerCertificateMismatch];

/// Token of the `Authorization` header, the only place one may be, by the scheme of its kind.
fn presented_token(call: &mut Call, scheme: &str) -> Result<String, Refusal> {
    let elsewhere = call.query("access_token").or(call.form("access_token")).is_some();
    call.checks.demand(Rule::BearerElsewhere, !elsewhere)?;
    let single = call.headers.get_all(header::AUTHORIZATION).iter().count() == 1;
    let token = call
        .header(&header::AUTHORIZATION)
        .filter(|_| single)
        .and_then(|value| value.split_once(' '))
        .filter(|(found, _)| found.eq_ignore_ascii_case(scheme))
        .map(|(_, token)| token.to_owned());
    call.checks.require(Rule::BearerMissing, token)
}

/// The token a request brings, good for whoever sent it.
pub(crate) fn active_token(core: &Core, call: &mut Call) -> Result<ActiveToken, Refusal> {
    let conduct = core.config.conduct;
    let scheme = core.token_type();
    let at_resource = |refusal: Refusal| refusal.at_resource(scheme);
    let token = presented_token(call, scheme).map_err(at_resource)?;
    let (possession, rules) = if core.uses_dpop() {
        let nonce_scheme = core.behaviour().dpop_scheme.clone();
        let key = dpop::judge(core, call, Some(&token)).map_err(|refusal| {
            let scheme = if refusal.asks_for_nonce() { &nonce_scheme } else { scheme };
            refusal.at_resource(scheme)
        })?;
        (Possession::Key(key), &[Rule::DpopBinding][..])
    } else if !conduct.binds_certificates()
        || (conduct.family == Family::Fapi1 && call.endpoint == Endpoint::Userinfo)
    {
        // FAPI 1.0's userinfo is on the host that sees no certificates.
        (Possession::Unasked, &[][..])
    } else {
        let certificate = call.connection.peer_thumbprint.clone();
        (Possession::Certificate(certificate), &CERTIFICATE_RULES[..])
    };
    let rules: Vec<Rule> = TOKEN_RULES.iter().chain(rules).copied().collect();
    match core.active(&token, possession) {
        Ok(active) => {
            call.checks.held(&rules);
            call.client_id = Some(active.client_id.clone());
            Ok(active)
        }
        Err(inactive) => Err(at_resource(call.checks.broken(&rules, inactive.rule(), ""))),
    }
}

impl Inactive {
    const fn rule(self) -> Rule {
        match self {
            Self::Unknown => Rule::TokenUnknown,
            Self::Revoked => Rule::TokenRevoked,
            Self::Expired => Rule::TokenExpired,
            Self::NoCertificate => Rule::BearerCertificateMissing,
            Self::OtherCertificate => Rule::BearerCertificateMismatch,
            Self::OtherKey => Rule::DpopBinding,
        }
    }
}

/// The caller's interaction id, which must be a UUID, or a new one: in every answer from here on.
pub(crate) fn interaction_id(call: &mut Call) -> Result<(), Refusal> {
    let mut sent = call.headers.get_all(INTERACTION_ID).iter();
    let id = match (sent.next(), sent.next()) {
        (None, _) => HeaderValue::from_str(&new_uuid()).ok(),
        (Some(value), None) => Some(value.clone()).filter(is_uuid),
        (Some(_), Some(_)) => None,
    };
    call.interaction_id = Some(call.checks.require(Rule::InteractionId(call.endpoint), id)?);
    Ok(())
}

fn is_uuid(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

fn new_uuid() -> String {
    let mut bytes = [0_u8; 16];
    // Not a secret: should the generator fail, a constant identifier does no harm.
    let _ = rand::fill(&mut bytes);
    let bits =
        (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Every value of a header passes, if there is one.
fn each(call: &Call, name: &HeaderName, fine: impl Fn(&str) -> bool) -> bool {
    call.headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(&fine))
}

fn is_http_date(text: &str) -> bool {
    // Parsing alone does not notice a weekday that is not the date's.
    PrimitiveDateTime::parse(text, HTTP_DATE)
        .is_ok_and(|date| date.format(HTTP_DATE).is_ok_and(|again| again == text))
}

/// `GET …/accounts`, as the conformance suite has it: on the host of what the token is bound to.
pub(super) fn accounts(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    interaction_id(call)?;
    call.demand_method(&Method::GET)?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    active_token(core, call)?;
    let dated = each(call, &AUTH_DATE, is_http_date);
    call.checks.demand(Rule::AuthDate, dated)?;
    let bare = each(call, &CUSTOMER_IP, |text| text.parse::<IpAddr>().is_ok());
    call.checks.demand(Rule::CustomerIp, bare)?;
    Ok(json_response(StatusCode::OK, &json!({"conformance-test-finished": "true"})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_of_a_date_is_a_date() {
        assert!(is_http_date("Sun, 06 Nov 1994 08:49:37 GMT"));
        for wrong in [
            "",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
            "784111777",
        ] {
            assert!(!is_http_date(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_new_interaction_id_is_a_uuid_of_version_four() {
        let id = new_uuid();
        assert!(is_uuid(&HeaderValue::from_str(&id).unwrap()), "{id}");
        assert_eq!((&id[14..15], "89ab".contains(&id[19..20])), ("4", true), "{id}");
        for wrong in ["", "not-a-uuid", &id[1..], &id.replace('-', "x")] {
            assert!(!is_uuid(&HeaderValue::from_str(wrong).unwrap()), "{wrong}");
        }
    }
}
