//! Owns token exchange (RFC 8693): the request for another access token in place of a session's, and
//! whether the answer brings one that may be sent. Must not know: where tokens are kept or sent.

use super::{
    answer::{Answer, optional_string, string},
    token::{
        Asked, Token, TokenRejected, TokenResponse, TokenResponseRejected, TokenType, Unwanted,
        granted_scope, token_members,
    },
};

/// `grant_type` (TX-2.1).
pub const TOKEN_EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What kind of token is wanted; either can be sent as an access token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RequestedType {
    /// An access token, whatever is in it.
    #[default]
    AccessToken,
    /// A JWT.
    Jwt,
}

impl RequestedType {
    /// The registered name (RFC 8693 §3).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }
}

/// What a session's access token is to be exchanged for. All of it is configured: no page has a word
/// in it (TX-2.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExchangeRequest {
    /// The logical name of the service the token is for.
    pub audience: Option<String>,
    /// The same, as a URI.
    pub resource: Option<String>,
    /// Space-separated scope.
    pub scope: Option<String>,
    /// The kind of token.
    pub requested_token_type: RequestedType,
}

impl ExchangeRequest {
    /// The parameters of the request, client authentication aside.
    pub fn form<'a>(&'a self, subject_token: &'a Token) -> Vec<(&'static str, &'a str)> {
        let optional = [
            ("audience", self.audience.as_deref()),
            ("resource", self.resource.as_deref()),
            ("scope", self.scope.as_deref()),
        ];
        [
            ("grant_type", TOKEN_EXCHANGE_GRANT),
            ("subject_token", subject_token.expose()),
            ("subject_token_type", RequestedType::AccessToken.name()),
            ("requested_token_type", self.requested_token_type.name()),
        ]
        .into_iter()
        .chain(optional.into_iter().filter_map(|(name, value)| Some((name, value?))))
        .collect()
    }
}

/// Judges the answer to an exchange (TX-2.2): the issued type is the one asked for, and the token is
/// one that can be presented the way this client presents tokens. `N_A` is no such way: that token is
/// not an access token, and is never sent as one. What `act` says in it is its API's to read.
pub fn exchange_response(
    answer: &Answer<'_>,
    request: &ExchangeRequest,
    token_type: TokenType,
) -> Result<TokenResponse, TokenResponseRejected> {
    let body = answer.object(200)?;
    let presented = string(&body, "token_type")?;
    let issued = optional_string(&body, "issued_token_type")?;
    let scope = optional_string(&body, "scope")?;
    let asked = Asked { token_type, scope: "", details: None, enrichable: &[] };
    let tokens = token_members(&body, &asked)?;
    let verdict = if presented.eq_ignore_ascii_case("N_A") {
        Err(TokenRejected::NotAnAccessToken)
    } else if !presented.eq_ignore_ascii_case(token_type.name()) {
        Err(TokenRejected::TypeMismatch)
    } else {
        match issued {
            None => Err(TokenRejected::IssuedTypeMissing),
            Some(issued) if issued != request.requested_token_type.name() => {
                Err(TokenRejected::IssuedTypeMismatch)
            }
            // Without a wish the server decides (RFC 8693 §2.2.1).
            Some(_) => match (&request.scope, scope) {
                (Some(asked), granted) => granted_scope(asked, granted),
                (None, Some(granted)) => granted_scope(granted, Some(granted)),
                (None, None) => Ok(String::new()),
            },
        }
    };
    match verdict {
        Ok(scope) => Ok(TokenResponse { scope, ..tokens }),
        Err(why) => {
            let TokenResponse { access_token, refresh_token, .. } = tokens;
            let tokens = Unwanted { access_token, refresh_token };
            Err(TokenResponseRejected::Token { why, tokens })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request() -> ExchangeRequest {
        ExchangeRequest { scope: Some("accounts".to_owned()), ..ExchangeRequest::default() }
    }

    fn good() -> Value {
        json!({"access_token": "exchanged", "token_type": "Bearer", "expires_in": 60, "scope": "accounts",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})
    }

    fn judge(
        body: &Value,
        request: &ExchangeRequest,
    ) -> Result<TokenResponse, TokenResponseRejected> {
        let body = body.to_string();
        let content_type = Some("application/json");
        let answer = Answer { status: 200, content_type, retry_after: None, body: body.as_bytes() };
        exchange_response(&answer, request, TokenType::Bearer)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = good();
        body[name] = value;
        body
    }

    fn reason(body: &Value) -> &'static str {
        judge(body, &request()).unwrap_err().reason()
    }

    /// TX-2.1.
    #[test]
    fn golden_request() {
        let token = Token::new("subject".to_owned());
        let bare = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", "subject"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        assert_eq!(ExchangeRequest::default().form(&token), bare);
        let full = ExchangeRequest {
            audience: Some("ledger".to_owned()),
            resource: Some("https://ledger.example".to_owned()),
            scope: Some("a b".to_owned()),
            requested_token_type: RequestedType::Jwt,
        };
        let form = full.form(&token);
        assert_eq!(form[3].1, "urn:ietf:params:oauth:token-type:jwt");
        let rest =
            [("audience", "ledger"), ("resource", "https://ledger.example"), ("scope", "a b")];
        assert_eq!(form[4..], rest);
    }

    /// TX-2.2.
    #[test]
    fn only_an_access_token_of_the_kind_asked_for_is_accepted() {
        let tokens = judge(&good(), &request()).unwrap();
        assert_eq!(tokens.access_token.expose(), "exchanged");
        assert_eq!((tokens.expires_in, tokens.scope.as_str()), (Some(60), "accounts"));
        for (name, value, why) in [
            ("token_type", json!("N_A"), "token.not_an_access_token"),
            ("token_type", json!("n_a"), "token.not_an_access_token"),
            ("token_type", json!("DPoP"), "token.type_mismatch"),
            ("token_type", json!("mac"), "token.type_mismatch"),
            ("token_type", json!(null), "as_answer.member_type"),
            ("access_token", json!("a b"), "as_answer.member_value"),
            ("access_token", json!(7), "as_answer.member_type"),
            ("issued_token_type", json!("access_token"), "token.issued_type_mismatch"),
            ("issued_token_type", json!(""), "token.issued_type_mismatch"),
            ("issued_token_type", json!(RequestedType::Jwt.name()), "token.issued_type_mismatch"),
            (
                "issued_token_type",
                json!("urn:ietf:params:oauth:token-type:refresh_token"),
                "token.issued_type_mismatch",
            ),
            ("issued_token_type", json!(1), "as_answer.member_type"),
            ("scope", json!("accounts admin"), "token.scope_beyond_request"),
            ("scope", json!(""), "token.scope_malformed"),
            ("expires_in", json!(0), "as_answer.member_value"),
        ] {
            assert_eq!(reason(&with(name, value.clone())), why, "{name} {value}");
        }
        for (name, why) in [
            ("access_token", "as_answer.member_missing"),
            ("token_type", "as_answer.member_missing"),
            ("issued_token_type", "token.issued_type_missing"),
        ] {
            let mut body = good();
            body.as_object_mut().unwrap().remove(name);
            assert_eq!(reason(&body), why, "{name}");
        }
    }

    #[test]
    fn what_is_refused_comes_along_to_be_given_up() {
        let mut body = with("token_type", json!("N_A"));
        body["refresh_token"] = json!("more");
        let Err(TokenResponseRejected::Token { tokens, .. }) = judge(&body, &request()) else {
            panic!()
        };
        assert_eq!(tokens.access_token.expose(), "exchanged");
        assert_eq!(tokens.refresh_token.unwrap().expose(), "more");
    }

    #[test]
    fn without_a_wish_the_server_decides_on_the_scope() {
        let free = ExchangeRequest::default();
        assert_eq!(judge(&with("scope", json!("a b")), &free).unwrap().scope, "a b");
        let malformed = judge(&with("scope", json!("a  b")), &free).unwrap_err();
        assert_eq!(malformed.reason(), "token.scope_malformed");
        let mut silent = good();
        silent.as_object_mut().unwrap().remove("scope");
        assert_eq!(judge(&silent, &free).unwrap().scope, "");
        assert_eq!(judge(&silent, &request()).unwrap().scope, "accounts");
    }
}
