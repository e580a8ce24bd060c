//! Owns which authorization parameters an application's script may choose, and their shapes.
//! Must not know: the parameters that belong to us alone, such as `state` or `redirect_uri`.

use super::{reason::rejection, token::is_scope_token};

/// Longest value accepted, in bytes.
const MAX_BYTES: usize = 512;

/// The closed list from which an application's allow-list is taken.
pub const ALLOWED_PARAMETERS: [&str; 7] =
    ["acr_values", "display", "login_hint", "max_age", "prompt", "scope", "ui_locales"];

/// Parameters chosen by an application's script, each of the right shape.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestParameters {
    /// Authentication context classes, most wanted first, separated by spaces.
    pub acr_values: Option<String>,
    /// `page`, `popup`, `touch` or `wap`.
    pub display: Option<String>,
    /// Who will probably log in.
    pub login_hint: Option<String>,
    /// Seconds the authentication may be old.
    pub max_age: Option<u32>,
    /// Whether the user is asked again; `none` stands alone (OIDC-3.1.2.1).
    pub prompt: Option<String>,
    /// Part of the registered scope.
    pub scope: Option<String>,
    /// Preferred languages.
    pub ui_locales: Option<String>,
}

rejection! {
    /// Why a parameter from an application's script is refused.
    pub enum ParameterRejected {
        NotAllowed => "parameter.not_allowed", "the parameter is not on the application's list";
        Duplicate => "parameter.duplicate", "the parameter occurs twice (OA-3.1)";
        TooLong => "parameter.too_long", "the value is too long";
        Malformed => "parameter.malformed", "the value does not have the parameter's shape";
        ScopeNotRegistered => "parameter.scope_not_registered", "the scope is not within the client's (FAPI2-SP-5.3.3.1-13)";
        OpenidMissing => "parameter.openid_missing", "a login without openid has no ID token (OIDC-3.1.2.1)";
    }
}

impl RequestParameters {
    /// Reads what a script sent: only names on both `allowed` and [`ALLOWED_PARAMETERS`], each
    /// once, each well-formed; a scope within `registered_scopes`.
    pub fn accept<'p>(
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
        allowed: &[String],
        registered_scopes: &[String],
    ) -> Result<Self, ParameterRejected> {
        let mut parameters = Self::default();
        for (name, value) in pairs {
            if !allowed.iter().any(|known| known == name) {
                return Err(ParameterRejected::NotAllowed);
            }
            if value.len() > MAX_BYTES {
                return Err(ParameterRejected::TooLong);
            }
            let first = match name {
                "acr_values" => {
                    fill(&mut parameters.acr_values, tokens(value, |c| c.is_ascii_graphic())?)
                }
                "display" => fill(
                    &mut parameters.display,
                    one_of(value, &["page", "popup", "touch", "wap"])?,
                ),
                "login_hint" => fill(&mut parameters.login_hint, text(value)?),
                "max_age" => fill(&mut parameters.max_age, seconds(value)?),
                "prompt" => fill(&mut parameters.prompt, prompt(value)?),
                "scope" => fill(&mut parameters.scope, scope_within(value, registered_scopes)?),
                "ui_locales" => fill(
                    &mut parameters.ui_locales,
                    tokens(value, |c| c.is_ascii_alphanumeric() || c == b'-')?,
                ),
                _ => return Err(ParameterRejected::NotAllowed),
            };
            if !first {
                return Err(ParameterRejected::Duplicate);
            }
        }
        Ok(parameters)
    }
}

/// Puts a value where none is yet.
fn fill<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_none()
}

fn tokens(value: &str, allowed: fn(u8) -> bool) -> Result<String, ParameterRejected> {
    let well_formed = value.split(' ').all(|token| !token.is_empty() && token.bytes().all(allowed));
    well_formed.then(|| value.to_owned()).ok_or(ParameterRejected::Malformed)
}

fn one_of(value: &str, list: &[&str]) -> Result<String, ParameterRejected> {
    list.contains(&value).then(|| value.to_owned()).ok_or(ParameterRejected::Malformed)
}

fn text(value: &str) -> Result<String, ParameterRejected> {
    let plain = !value.is_empty() && !value.chars().any(char::is_control);
    plain.then(|| value.to_owned()).ok_or(ParameterRejected::Malformed)
}

fn seconds(value: &str) -> Result<u32, ParameterRejected> {
    let digits = value.bytes().all(|c| c.is_ascii_digit());
    value.parse().ok().filter(|_| digits).ok_or(ParameterRejected::Malformed)
}

fn prompt(value: &str) -> Result<String, ParameterRejected> {
    let prompts: Vec<_> = value.split(' ').collect();
    for (place, prompt) in prompts.iter().enumerate() {
        one_of(prompt, &["none", "login", "consent", "select_account", "create"])?;
        let alone = *prompt != "none" || prompts.len() == 1;
        if !alone || prompts.iter().take(place).any(|earlier| earlier == prompt) {
            return Err(ParameterRejected::Malformed);
        }
    }
    Ok(value.to_owned())
}

/// The requested scope in the order of the registration, if it is part of it. `openid` may not be
/// left out of a registration that has it.
pub fn scope_within(requested: &str, registered: &[String]) -> Result<String, ParameterRejected> {
    let requested: Vec<_> = requested.split(' ').collect();
    if !requested.iter().all(|token| is_scope_token(token)) {
        return Err(ParameterRejected::Malformed);
    }
    if !requested.iter().all(|token| registered.iter().any(|known| known == token)) {
        return Err(ParameterRejected::ScopeNotRegistered);
    }
    if registered.iter().any(|known| known == "openid") && !requested.contains(&"openid") {
        return Err(ParameterRejected::OpenidMissing);
    }
    let kept: Vec<_> =
        registered.iter().map(String::as_str).filter(|known| requested.contains(known)).collect();
    Ok(kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    fn accept(pairs: &[(&str, &str)]) -> Result<RequestParameters, ParameterRejected> {
        let scopes = strings(&["openid", "accounts", "payments"]);
        RequestParameters::accept(pairs.iter().copied(), &strings(&ALLOWED_PARAMETERS), &scopes)
    }

    #[test]
    fn every_listed_parameter_has_a_value_that_is_accepted() {
        let parameters = accept(&[
            ("acr_values", "urn:example:high urn:example:low"),
            ("display", "popup"),
            ("login_hint", "Åsa@example.com"),
            ("max_age", "0"),
            ("prompt", "login consent"),
            ("scope", "payments openid"),
            ("ui_locales", "nb-NO en"),
        ])
        .unwrap();
        assert_eq!(parameters.max_age, Some(0));
        assert_eq!(parameters.scope.as_deref(), Some("openid payments"));
        assert_eq!(parameters.prompt.as_deref(), Some("login consent"));
        assert_eq!(accept(&[]).unwrap(), RequestParameters::default());
    }

    /// OIDC-3.1.2.1, OpenID Connect Prompt Create.
    #[test]
    fn every_value_of_a_closed_list_is_accepted() {
        let lists = [
            ("display", ["page", "popup", "touch", "wap"].as_slice()),
            ("prompt", &["none", "login", "consent", "select_account", "create"]),
        ];
        for (name, values) in lists {
            for value in values {
                assert!(accept(&[(name, value)]).is_ok(), "{name}={value}");
            }
        }
    }

    #[test]
    fn our_own_and_unknown_parameters_are_refused_even_if_an_application_lists_them() {
        for name in [
            "client_id",
            "redirect_uri",
            "response_type",
            "response_mode",
            "state",
            "nonce",
            "code_challenge",
            "code_challenge_method",
            "request",
            "request_uri",
            "claims",
            "id_token_hint",
            "authorization_details",
            "resource",
            "dpop_jkt",
            "iss",
            "Scope",
            "scope ",
            "",
        ] {
            assert_eq!(accept(&[(name, "x")]), Err(ParameterRejected::NotAllowed), "{name}");
            let listed = RequestParameters::accept([(name, "x")], &strings(&[name]), &[]);
            assert_eq!(listed, Err(ParameterRejected::NotAllowed), "{name}");
        }
        let unlisted =
            RequestParameters::accept([("prompt", "login")], &strings(&["max_age"]), &[]);
        assert_eq!(unlisted, Err(ParameterRejected::NotAllowed));
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let cases = [
            (
                "max_age",
                ["", "-1", "+1", "1.5", "4294967296", " 1", "1e3", "0x10", "１"].as_slice(),
            ),
            (
                "prompt",
                &[
                    "",
                    "none login",
                    "login none",
                    "none none",
                    "login login",
                    "Login",
                    "login  consent",
                    "x",
                ],
            ),
            ("display", &["", "Page", "page popup", "tv"]),
            ("acr_values", &["", " ", "a  b", " a", "a ", "a\nb", "a\tb", "é"]),
            ("ui_locales", &["", "nb_NO", "en;q=1", "en\n", "en,nb"]),
            ("login_hint", &["", "a\nb", "a\r\nb", "a\u{0}", "\u{85}"]),
            ("scope", &["", " openid", "openid  accounts", "open\"id", "openid\n"]),
        ];
        for (name, values) in cases {
            for value in values {
                assert_eq!(
                    accept(&[(name, value)]),
                    Err(ParameterRejected::Malformed),
                    "{name}={value:?}"
                );
            }
        }
    }

    #[test]
    fn length_and_repetition_are_bounded() {
        let at_most = "a".repeat(512);
        assert!(accept(&[("login_hint", &at_most)]).is_ok());
        let longer = "a".repeat(513);
        assert_eq!(accept(&[("login_hint", &longer)]), Err(ParameterRejected::TooLong));
        let twice = accept(&[("max_age", "1"), ("prompt", "login"), ("max_age", "1")]);
        assert_eq!(twice, Err(ParameterRejected::Duplicate));
    }

    /// FAPI2-SP-5.3.3.1-13.
    #[test]
    fn a_script_can_narrow_the_scope_but_never_widen_it() {
        assert_eq!(accept(&[("scope", "openid")]).unwrap().scope.as_deref(), Some("openid"));
        for wider in ["openid admin", "openid Accounts", "openid accounts1"] {
            assert_eq!(
                accept(&[("scope", wider)]),
                Err(ParameterRejected::ScopeNotRegistered),
                "{wider}"
            );
        }
        assert_eq!(accept(&[("scope", "accounts")]), Err(ParameterRejected::OpenidMissing));
        assert_eq!(scope_within("b a", &strings(&["a", "b"])).unwrap(), "a b");
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(name in proptest::sample::select(ALLOWED_PARAMETERS.to_vec()), value: String) {
            let _ = accept(&[(name, &value)]);
        }
    }
}
