//! Owns the judgement of a token response, after a code or a refresh token (RFC 6749 §5).
//! Must not know: which grant it answers, or where tokens are kept.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::jose::Claims;

use super::{
    answer::{Answer, AsAnswer, Malformation, optional_seconds, optional_string, string},
    rar::AuthorizationDetails,
    reason::rejection,
};

/// The member that holds what was granted in detail (RFC 9396 §7).
const DETAILS: &str = "authorization_details";

/// A token: wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A token with this text, as read from our own sealed record.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Printable ASCII without spaces, so that it cannot break out of a header or a form.
    fn read(text: &str, member: &'static str) -> Result<Self, Malformation> {
        let printable = !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic());
        printable
            .then(|| Self(Zeroizing::new(text.to_owned())))
            .ok_or(Malformation::MemberValue(member))
    }

    /// The token itself, for the request it authorises and for sealing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// For sealing only; whoever serialises a token elsewhere gives it away.
impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// How an access token is presented.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenType {
    /// RFC 6750; a certificate-bound token is one too.
    Bearer,
    /// RFC 9449.
    DPoP,
}

impl TokenType {
    /// The registered name and authorization scheme.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::DPoP => "DPoP",
        }
    }
}

/// A well-formed token response. The ID token in it is text until it is verified.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: Token,
    /// How to present it: the type that was asked for.
    pub token_type: TokenType,
    /// Seconds it lives; a server may leave that out.
    pub expires_in: Option<u64>,
    /// What was granted, never more than was asked for.
    pub scope: String,
    /// A new refresh token; without one, the old one stays in use (FAPI2-SP-5.3.3.1-6).
    pub refresh_token: Option<Token>,
    /// The ID token, unverified.
    pub id_token: Option<Token>,
    /// What was granted in detail, never more than was asked for; none if the server does not say
    /// (RAR-7).
    pub authorization_details: Option<AuthorizationDetails>,
}

/// What a token request asked for, as far as the answer is held against it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// How access tokens are to be presented.
    pub token_type: TokenType,
    /// The scope of the authorization request; at a refresh the scope granted before.
    pub scope: &'a str,
    /// The details of the authorization request; at a refresh those granted before.
    pub details: Option<&'a AuthorizationDetails>,
    /// Members of details that the server may add (RFC 9396 §7.1).
    pub enrichable: &'a [String],
}

/// Tokens that were issued and must not be used. They live until they are given up (REV-2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unwanted {
    /// The access token.
    pub access_token: Token,
    /// The refresh token, if one came along.
    pub refresh_token: Option<Token>,
}

/// Why a token response is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenResponseRejected {
    /// The server said no, or nothing usable.
    #[error(transparent)]
    Answer(#[from] AsAnswer),
    /// The tokens must not be used.
    #[error("{why}")]
    Token {
        /// Which rule they break.
        why: TokenRejected,
        /// The tokens, to be given up.
        tokens: Unwanted,
    },
}

impl TokenResponseRejected {
    /// Stable machine reason for audit and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.reason(),
            Self::Token { why, .. } => why.reason(),
        }
    }
}

impl From<Malformation> for TokenResponseRejected {
    fn from(why: Malformation) -> Self {
        Self::Answer(why.into())
    }
}

rejection! {
    /// Why issued tokens are not used.
    pub enum TokenRejected {
        ScopeMalformed => "token.scope_malformed", "the granted scope is not a list of scope tokens";
        ScopeBeyondRequest => "token.scope_beyond_request", "more scope was granted than asked for";
        DetailsMalformed => "token.details_malformed", "the granted authorization details are malformed (RAR-2)";
        DetailsBeyondRequest => "token.details_beyond_request", "more was granted in detail than asked for (RAR-7)";
        TypeMismatch => "token.type_mismatch", "the token type is not the one asked for (OA-5.1, DPOP-5)";
        NotAnAccessToken => "token.not_an_access_token", "the issued token is not an access token (TX-2.2)";
        IssuedTypeMissing => "token.issued_type_missing", "`issued_token_type` is missing (TX-2.2)";
        IssuedTypeMismatch => "token.issued_type_mismatch", "the issued token is not of the type asked for (TX-2.2)";
        Unbound => "token.unbound", "the access token is not bound as asked for (FAPI2-SP-5.3.3.1-1)";
        BindingMismatch => "token.binding_mismatch", "the access token is bound to another certificate or key (MTLS-3, DPOP-5)";
    }
}

/// Judges the answer of the token endpoint (OA-5.1): exactly 200, a strict JSON object, the
/// token type that was asked for in any letter case (DPOP-5), and nothing granted beyond the request.
pub fn token_response(
    answer: &Answer<'_>,
    asked: &Asked<'_>,
) -> Result<TokenResponse, TokenResponseRejected> {
    let body = answer.object(200)?;
    let typed = string(&body, "token_type")?.eq_ignore_ascii_case(asked.token_type.name());
    let granted = optional_string(&body, "scope")?;
    let tokens = token_members(&body, asked)?;
    let verdict = if typed {
        granted_scope(asked.scope, granted)
            .and_then(|scope| Ok((scope, granted_details(asked, body.get(DETAILS))?)))
    } else {
        Err(TokenRejected::TypeMismatch)
    };
    match verdict {
        Ok((scope, authorization_details)) => {
            Ok(TokenResponse { scope, authorization_details, ..tokens })
        }
        Err(why) => {
            let TokenResponse { access_token, refresh_token, .. } = tokens;
            let tokens = Unwanted { access_token, refresh_token };
            Err(TokenResponseRejected::Token { why, tokens })
        }
    }
}

/// The tokens in an answer, well-formed each; scope and details are left to be judged.
pub(super) fn token_members(
    body: &Claims,
    asked: &Asked<'_>,
) -> Result<TokenResponse, Malformation> {
    Ok(TokenResponse {
        access_token: Token::read(string(body, "access_token")?, "access_token")?,
        token_type: asked.token_type,
        expires_in: optional_seconds(body, "expires_in")?,
        scope: String::new(),
        refresh_token: optional_token(body, "refresh_token")?,
        id_token: optional_token(body, "id_token")?,
        authorization_details: None,
    })
}

/// The details of issued tokens, held against those asked for. Details nobody asked for are refused
/// like scope nobody asked for.
fn granted_details(
    asked: &Asked<'_>,
    granted: Option<&Value>,
) -> Result<Option<AuthorizationDetails>, TokenRejected> {
    let Some(granted) = granted else { return Ok(None) };
    // Nothing, said in so many words: at a refresh it takes back what was granted before.
    if *granted == Value::Array(Vec::new()) {
        return Ok(Some(AuthorizationDetails::none()));
    }
    let granted =
        AuthorizationDetails::read(granted).map_err(|_| TokenRejected::DetailsMalformed)?;
    if asked.details.is_some_and(|details| details.cover(&granted, asked.enrichable)) {
        Ok(Some(granted))
    } else {
        Err(TokenRejected::DetailsBeyondRequest)
    }
}

fn optional_token(body: &Claims, name: &'static str) -> Result<Option<Token>, Malformation> {
    optional_string(body, name)?.map(|text| Token::read(text, name)).transpose()
}

/// The scope of issued tokens: what the server says, or what was asked for if it says nothing
/// (RFC 6749 §5.1). More than was asked for is refused: a token stronger than the application was
/// given to expect is nobody's decision here (FAPI2-SP-5.3.3.1-13, FAPI1-BASE-5.2.3-10).
pub fn granted_scope(requested: &str, granted: Option<&str>) -> Result<String, TokenRejected> {
    let Some(granted) = granted else { return Ok(requested.to_owned()) };
    if granted.split(' ').any(|token| !is_scope_token(token)) {
        return Err(TokenRejected::ScopeMalformed);
    }
    if granted.split(' ').any(|token| requested.split(' ').all(|asked| asked != token)) {
        return Err(TokenRejected::ScopeBeyondRequest);
    }
    Ok(granted.to_owned())
}

/// What an access token must be bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoundTo<'a> {
    /// The certificate with this `x5t#S256` (RFC 8705 §3.1).
    Certificate(&'a str),
    /// The key with this thumbprint (RFC 9449 §6.1).
    Key(&'a str),
    /// Nothing.
    Nothing,
}

impl BoundTo<'_> {
    /// Whether a `cnf` names it, where there is anything to name.
    pub(super) fn confirmed_by(self, cnf: Option<&Value>) -> Result<(), TokenRejected> {
        let (member, thumbprint) = match self {
            Self::Certificate(thumbprint) => ("x5t#S256", thumbprint),
            Self::Key(thumbprint) => ("jkt", thumbprint),
            Self::Nothing => return Ok(()),
        };
        match cnf.and_then(|cnf| cnf.get(member)).map(Value::as_str) {
            Some(Some(bound)) if bool::from(bound.as_bytes().ct_eq(thumbprint.as_bytes())) => {
                Ok(())
            }
            Some(_) => Err(TokenRejected::BindingMismatch),
            None => Err(TokenRejected::Unbound),
        }
    }
}

/// Whether an access token is bound as it must be, as far as we can see: a token that is a JWT says so
/// in `cnf`; an opaque one tells only its resource servers, who check it themselves (MTLS-3). The JWT
/// is read, not verified: this finds mistakes of the server's, it does not let anybody in.
pub fn check_binding(access_token: &str, bound_to: BoundTo<'_>) -> Result<(), TokenRejected> {
    if bound_to == BoundTo::Nothing {
        return Ok(());
    }
    let mut parts = access_token.split('.');
    let (Some(header), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(());
    };
    let object = |part: &str| -> Option<Map<String, Value>> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let Some((_, claims)) = object(header).zip(object(payload)) else { return Ok(()) };
    bound_to.confirmed_by(claims.get("cnf"))
}

/// RFC 6749 §3.3.
pub(super) fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::answer::OAuthError;

    const REQUESTED: &str = "openid accounts";

    fn judge_as(
        token_type: TokenType,
        status: u16,
        body: &str,
    ) -> Result<TokenResponse, TokenResponseRejected> {
        let content_type = Some("application/json;charset=UTF-8");
        let answer = Answer { status, content_type, retry_after: None, body: body.as_bytes() };
        let asked = Asked { token_type, scope: REQUESTED, details: None, enrichable: &[] };
        token_response(&answer, &asked)
    }

    /// RAR-7: strictly read, held against the request, and what is too much takes the tokens along.
    #[test]
    fn granted_details_are_within_those_asked_for() {
        let payment = json!([{"type": "payment", "amount": "1.00"}]);
        let details = AuthorizationDetails::read(&payment).unwrap();
        let judge = |details: Option<&AuthorizationDetails>, granted: Option<Value>| {
            let body = granted.map_or_else(good, |granted| with(DETAILS, granted)).to_string();
            let content_type = Some("application/json");
            let answer =
                Answer { status: 200, content_type, retry_after: None, body: body.as_bytes() };
            let token_type = TokenType::Bearer;
            let asked = Asked { token_type, scope: REQUESTED, details, enrichable: &[] };
            match token_response(&answer, &asked) {
                Ok(tokens) => Ok(tokens.authorization_details),
                Err(TokenResponseRejected::Token { why, tokens }) => {
                    assert!(tokens.refresh_token.is_some());
                    Err(why)
                }
                Err(other) => panic!("{other:?}"),
            }
        };
        let asked = Some(&details);
        assert_eq!(judge(asked, Some(payment.clone())), Ok(asked.cloned()));
        assert_eq!(judge(asked, None), Ok(None));
        for details in [None, asked] {
            let nothing = judge(details, Some(json!([]))).unwrap().unwrap();
            assert!(!nothing.has_type("payment"), "not the same as saying nothing (RAR-7)");
        }
        assert_eq!(judge(None, None), Ok(None));
        assert_eq!(judge(None, Some(payment)), Err(TokenRejected::DetailsBeyondRequest));
        for more in [
            json!([{"type": "payment", "amount": "9.00"}]),
            json!([{"type": "payment"}]),
            json!([{"type": "payment", "amount": "1.00"}, {"type": "payment", "amount": "1.00"}]),
            json!([{"type": "account"}]),
        ] {
            assert_eq!(judge(asked, Some(more)), Err(TokenRejected::DetailsBeyondRequest));
        }
        for bad in [json!(null), json!({}), json!("[]"), json!([1]), json!([{"amount": "1.00"}])] {
            assert_eq!(judge(asked, Some(bad)), Err(TokenRejected::DetailsMalformed));
        }
    }

    fn judge(body: &Value) -> Result<TokenResponse, TokenResponseRejected> {
        judge_as(TokenType::Bearer, 200, &body.to_string())
    }

    fn refusal(body: &Value) -> TokenResponseRejected {
        judge(body).unwrap_err()
    }

    fn good() -> Value {
        json!({"access_token": "2YotnFZFEjr1zCsicMWpAA", "token_type": "Bearer", "expires_in": 900, "scope": REQUESTED,
            "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA", "id_token": "a.b.c"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = good();
        body[name] = value;
        body
    }

    fn without(name: &str) -> Value {
        let mut body = good();
        body.as_object_mut().unwrap().remove(name);
        body
    }

    #[test]
    fn a_complete_response_is_accepted() {
        let tokens = judge(&good()).unwrap();
        assert_eq!(tokens.access_token.expose(), "2YotnFZFEjr1zCsicMWpAA");
        assert_eq!(tokens.token_type, TokenType::Bearer);
        assert_eq!(tokens.expires_in, Some(900));
        assert_eq!(tokens.scope, REQUESTED);
        assert_eq!(tokens.refresh_token.unwrap().expose(), "tGzv3JOkF0XG5Qx2TlKWIA");
        assert_eq!(tokens.id_token.unwrap().expose(), "a.b.c");
        assert!(judge(&with("session_state", json!({"any": "thing"}))).is_ok());
    }

    /// OA-5.1; the suite's token-type-case-insensitivity flips every letter.
    #[test]
    fn token_type_is_compared_without_case_and_must_be_the_one_asked_for() {
        for name in ["Bearer", "bearer", "BEARER", "bEARER"] {
            assert!(judge(&with("token_type", json!(name))).is_ok(), "{name}");
        }
        for name in ["", "mac", "DPoP", "dpOp", "N_A", "Bearer ", "Bearer, DPoP"] {
            let refused = refusal(&with("token_type", json!(name)));
            let TokenResponseRejected::Token { why, tokens } = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(why, TokenRejected::TypeMismatch, "{name}");
            assert_eq!(tokens.access_token.expose(), "2YotnFZFEjr1zCsicMWpAA");
        }
        for (name, accepted) in [("DPoP", true), ("dpOp", true), ("Bearer", false)] {
            let body = with("token_type", json!(name)).to_string();
            assert_eq!(judge_as(TokenType::DPoP, 200, &body).is_ok(), accepted, "{name}");
        }
    }

    #[test]
    fn access_token_and_token_type_are_required() {
        for name in ["access_token", "token_type"] {
            assert_eq!(refusal(&without(name)), Malformation::MemberMissing(name).into());
        }
    }

    #[test]
    fn the_other_members_may_be_absent() {
        let tokens = judge(&json!({"access_token": "t", "token_type": "Bearer"})).unwrap();
        assert_eq!(tokens.scope, REQUESTED);
        assert!(
            tokens.expires_in.is_none()
                && tokens.refresh_token.is_none()
                && tokens.id_token.is_none()
        );
    }

    #[test]
    fn null_and_other_types_are_not_absent() {
        for name in
            ["access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"]
        {
            for value in [json!(null), json!(true), json!(["x"]), json!({})] {
                assert_eq!(
                    refusal(&with(name, value.clone())),
                    Malformation::MemberType(name).into(),
                    "{name} {value}"
                );
            }
        }
        assert_eq!(
            refusal(&with("expires_in", json!("900"))),
            Malformation::MemberType("expires_in").into()
        );
        assert_eq!(
            refusal(&with("expires_in", json!(1.5))),
            Malformation::MemberType("expires_in").into()
        );
        for value in [json!(0), json!(-1), json!(u64::MAX)] {
            assert_eq!(
                refusal(&with("expires_in", value)),
                Malformation::MemberValue("expires_in").into()
            );
        }
    }

    #[test]
    fn a_token_that_could_break_out_of_a_header_is_refused() {
        for name in ["access_token", "refresh_token", "id_token"] {
            for value in ["", " ", "a b", "a\r\nX: y", "a\u{0}", "a\u{7f}", "tökén"] {
                assert_eq!(
                    refusal(&with(name, json!(value))),
                    Malformation::MemberValue(name).into(),
                    "{value:?}"
                );
            }
        }
    }

    #[test]
    fn duplicates_and_other_bodies_are_refused() {
        let twice = r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#;
        let refused = judge_as(TokenType::Bearer, 200, twice).unwrap_err();
        assert_eq!(refused, Malformation::DuplicateMember.into());
        let form =
            judge_as(TokenType::Bearer, 200, "access_token=a&token_type=Bearer").unwrap_err();
        assert_eq!(form, Malformation::NotJson.into());
        let created = judge_as(TokenType::Bearer, 201, &good().to_string()).unwrap_err();
        assert_eq!(created, Malformation::StatusUnexpected.into());
    }

    #[test]
    fn a_dead_grant_is_told_apart_from_an_outage() {
        let body = r#"{"error":"invalid_grant"}"#;
        let dead = judge_as(TokenType::Bearer, 400, body).unwrap_err();
        let error = OAuthError::from_code("invalid_grant");
        assert_eq!(dead, TokenResponseRejected::Answer(AsAnswer::Rejected { status: 400, error }));
        let outage = judge_as(TokenType::Bearer, 503, body).unwrap_err();
        assert_eq!(outage.reason(), "as.unavailable");
    }

    /// FAPI2-SP-5.3.3.1-13, FAPI1-BASE-5.2.3-10.
    #[test]
    fn the_granted_scope_is_within_the_requested_one() {
        assert_eq!(granted_scope(REQUESTED, None).unwrap(), REQUESTED);
        for granted in ["openid", "accounts openid", REQUESTED] {
            assert_eq!(granted_scope(REQUESTED, Some(granted)).unwrap(), granted);
        }
        for granted in ["openid accounts payments", "payments", "Openid", "openid account"] {
            assert_eq!(
                granted_scope(REQUESTED, Some(granted)),
                Err(TokenRejected::ScopeBeyondRequest),
                "{granted}"
            );
        }
        for granted in [
            "",
            " openid",
            "openid  accounts",
            "openid\taccounts",
            "op\"enid",
            "op\\enid",
            "openïd",
        ] {
            assert_eq!(
                granted_scope(REQUESTED, Some(granted)),
                Err(TokenRejected::ScopeMalformed),
                "{granted:?}"
            );
        }
        let refused = refusal(&with("scope", json!("openid admin")));
        assert_eq!(refused.reason(), "token.scope_beyond_request");
        let TokenResponseRejected::Token { tokens, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(tokens.access_token.expose(), "2YotnFZFEjr1zCsicMWpAA");
        assert_eq!(tokens.refresh_token.unwrap().expose(), "tGzv3JOkF0XG5Qx2TlKWIA");
    }

    fn jwt(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({"alg": "ES256"})), part(claims))
    }

    /// MTLS-3, FAPI2-SP-5.3.3.1-1.
    #[test]
    fn a_jwt_access_token_is_bound_to_our_certificate() {
        let thumbprint = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
        let to = BoundTo::Certificate(thumbprint);
        let bound = |cnf: Value| check_binding(&jwt(&json!({"cnf": cnf})), to);
        assert_eq!(bound(json!({"x5t#S256": thumbprint})), Ok(()));
        assert_eq!(bound(json!({"x5t#S256": thumbprint, "jkt": "other"})), Ok(()));
        for wrong in [json!(""), json!(thumbprint.to_lowercase()), json!(format!("{thumbprint}1"))]
        {
            assert_eq!(bound(json!({"x5t#S256": wrong})), Err(TokenRejected::BindingMismatch));
        }
        for wrong in [json!(null), json!(1), json!([thumbprint])] {
            assert_eq!(bound(json!({"x5t#S256": wrong})), Err(TokenRejected::BindingMismatch));
        }
        for unbound in [json!({}), json!(null), json!(thumbprint), json!({"jkt": thumbprint})] {
            assert_eq!(bound(unbound), Err(TokenRejected::Unbound));
        }
        let no_cnf = check_binding(&jwt(&json!({"sub": "alice"})), to);
        assert_eq!(no_cnf, Err(TokenRejected::Unbound));
    }

    /// DPOP-5: bound to the key and to nothing else; without a constraint nothing is asked.
    #[test]
    fn a_jwt_access_token_is_bound_to_our_key() {
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let bound = |cnf: Value| check_binding(&jwt(&json!({"cnf": cnf})), BoundTo::Key(jkt));
        assert_eq!(bound(json!({"jkt": jkt})), Ok(()));
        for wrong in [json!(""), json!(jkt.to_lowercase()), json!(null), json!([jkt])] {
            assert_eq!(bound(json!({"jkt": wrong})), Err(TokenRejected::BindingMismatch));
        }
        assert_eq!(bound(json!({"x5t#S256": jkt})), Err(TokenRejected::Unbound));
        assert_eq!(check_binding(&jwt(&json!({})), BoundTo::Nothing), Ok(()));
    }

    #[test]
    fn an_opaque_access_token_tells_nothing_about_its_binding() {
        for opaque in [
            "",
            "2YotnFZFEjr1zCsicMWpAA",
            "a.b.c",
            "..",
            "e30.e30",
            "e30.e30.e30.e30.e30",
            "e30.W10.x",
        ] {
            assert_eq!(check_binding(opaque, BoundTo::Certificate("x")), Ok(()), "{opaque}");
            assert_eq!(check_binding(opaque, BoundTo::Key("x")), Ok(()), "{opaque}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let shown = format!("{:?}", judge(&good()).unwrap());
        assert!(!shown.contains("2Yotn") && !shown.contains("tGzv3") && !shown.contains("a.b.c"));
    }
}
