//! Owns what another site may say when it sends a user here to log in (OpenID Connect Core §4).
//! Must not know: whether that is switched on, or how the user is asked.

use super::{reason::rejection, return_to::safe_return_to};

/// Longest hint passed on, in bytes.
const MAX_HINT: usize = 512;

/// A login that another site would like to start, every part of it judged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InitiatedLogin {
    /// Where to go afterwards: a path on the app's own origin.
    pub return_to: Option<String>,
    /// Who will probably log in.
    pub login_hint: Option<String>,
}

rejection! {
    /// Why another site's wish is refused.
    pub enum InitiationRejected {
        Duplicate => "initiation.duplicate", "a parameter occurs twice (OA-3.1)";
        IssuerMissing => "initiation.issuer_missing", "iss is missing (OIDC-4)";
        IssuerMismatch => "initiation.issuer_mismatch", "iss is not the client's issuer (OIDC-4)";
        TargetElsewhere => "initiation.target_elsewhere", "`target_link_uri` leads away from the app (OIDC-4)";
        HintMalformed => "initiation.hint_malformed", "`login_hint` is empty, too long or has control characters";
    }
}

/// Judges the parameters of a login initiated elsewhere: `iss` is the client's issuer byte for byte,
/// `target_link_uri` a safe path on `origin`. What else is sent is left aside.
pub fn initiated_login(
    parameters: &[(String, String)],
    issuer: &str,
    origin: &str,
) -> Result<InitiatedLogin, InitiationRejected> {
    let value = |name: &str| {
        let mut values = parameters.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(InitiationRejected::Duplicate),
            (first, None) => Ok(first.map(|(_, value)| value.as_str())),
        }
    };
    if value("iss")?.ok_or(InitiationRejected::IssuerMissing)? != issuer {
        return Err(InitiationRejected::IssuerMismatch);
    }
    let return_to = value("target_link_uri")?
        .map(|target| {
            let path = target.strip_prefix(origin).and_then(|path| match path {
                "" => Some("/".to_owned()),
                path => safe_return_to(path),
            });
            path.ok_or(InitiationRejected::TargetElsewhere)
        })
        .transpose()?;
    let login_hint = value("login_hint")?;
    if login_hint.is_some_and(|hint| {
        hint.is_empty() || hint.len() > MAX_HINT || hint.chars().any(char::is_control)
    }) {
        return Err(InitiationRejected::HintMalformed);
    }
    Ok(InitiatedLogin { return_to, login_hint: login_hint.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://as.example/t/";
    const ORIGIN: &str = "https://app.example";

    fn judge(pairs: &[(&str, &str)]) -> Result<InitiatedLogin, &'static str> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parameters: Vec<_> = pairs.iter().map(owned).collect();
        initiated_login(&parameters, ISSUER, ORIGIN).map_err(|rejected| rejected.reason())
    }

    /// OIDC-4.
    #[test]
    fn what_leads_to_the_app_is_accepted() {
        assert_eq!(judge(&[("iss", ISSUER)]), Ok(InitiatedLogin::default()));
        for (target, path) in [
            ("https://app.example", "/"),
            ("https://app.example/", "/"),
            ("https://app.example/accounts?id=7#top", "/accounts?id=7#top"),
        ] {
            let initiated = judge(&[("iss", ISSUER), ("target_link_uri", target)]).unwrap();
            assert_eq!(initiated.return_to.as_deref(), Some(path), "{target}");
        }
        let hinted = judge(&[("iss", ISSUER), ("login_hint", "Åsa"), ("unknown", "x")]).unwrap();
        assert_eq!(hinted.login_hint.as_deref(), Some("Åsa"));
    }

    /// OIDC-4.
    #[test]
    fn another_issuer_or_none_starts_nothing() {
        assert_eq!(judge(&[]), Err("initiation.issuer_missing"));
        for wrong in ["", "https://as.example/t", "https://as.example/t//", "HTTPS://as.example/t/"]
        {
            assert_eq!(judge(&[("iss", wrong)]), Err("initiation.issuer_mismatch"), "{wrong}");
        }
        assert_eq!(judge(&[("iss", ISSUER), ("iss", ISSUER)]), Err("initiation.duplicate"));
    }

    /// OIDC-4.
    #[test]
    fn a_target_elsewhere_is_refused() {
        for target in [
            "",
            "/accounts",
            "//app.example/",
            "http://app.example/",
            "https://app.example.evil.example/",
            "https://app.example:444/",
            "https://app.example@evil.example/",
            "https://evil.example/",
            "https://app.example//evil.example",
            "https://app.example/\\evil.example",
            "javascript:alert(1)",
        ] {
            let refused = judge(&[("iss", ISSUER), ("target_link_uri", target)]);
            assert_eq!(refused, Err("initiation.target_elsewhere"), "{target}");
        }
    }

    #[test]
    fn a_hint_is_bounded_text() {
        let longest = "h".repeat(512);
        assert!(judge(&[("iss", ISSUER), ("login_hint", &longest)]).is_ok());
        let longer = "h".repeat(513);
        for wrong in ["", "a\nb", longer.as_str()] {
            let refused = judge(&[("iss", ISSUER), ("login_hint", wrong)]);
            assert_eq!(refused, Err("initiation.hint_malformed"), "{wrong:?}");
        }
    }
}
