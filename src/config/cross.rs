//! Owns what settings demand of each other: names that must exist, paths that must not meet.
//! Must not know: how a single value is read.

use std::collections::BTreeMap;

use super::reader::{Place, Report, Section, Setting, quoted};
use crate::{
    ecosystem::{Consent, Ecosystem},
    paths::is_below,
    profile::{Profile, SenderConstraint},
};

/// What the comparisons need, kept even of entries that have other mistakes, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) providers: BTreeMap<String, ProviderFacts>,
    pub(super) clients: BTreeMap<String, ClientFacts>,
    pub(super) apps: BTreeMap<String, AppFacts>,
}

#[derive(Debug)]
pub(super) struct ProviderFacts {
    pub(super) issuer: Option<String>,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct ClientFacts {
    pub(super) provider: Option<String>,
    /// Whether it has a certificate to show.
    pub(super) has_certificate: bool,
    pub(super) ecosystem: Option<&'static Ecosystem>,
    /// Its scopes; empty if they have mistakes.
    pub(super) scopes: Vec<String>,
    /// Its profile, as the ecosystem leaves it.
    pub(super) profile: &'static Profile,
    pub(super) sender_constraint: SenderConstraint,
}

impl ClientFacts {
    /// Whether ID tokens are asked for, as far as is known.
    pub(super) fn openid(&self) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|scope| scope == "openid")
    }

    /// The clause that has tokens bound, where the profile leaves nothing else.
    pub(super) fn must_bind(&self) -> Option<&'static str> {
        let free = self.profile.sender_constraints.contains(&SenderConstraint::None);
        (!free).then(|| self.profile.clause("sender_constraints"))
    }

    /// The clause against sending the client's tokens without its certificate: where they must be
    /// bound, and are bound to that.
    pub(super) fn must_present(&self) -> Option<&'static str> {
        self.must_bind().filter(|_| self.sender_constraint == SenderConstraint::Mtls)
    }
}

#[derive(Debug)]
pub(super) struct AppFacts {
    pub(super) client: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) prefix: String,
    pub(super) redirect_path: String,
    pub(super) routes: Vec<Option<(String, Place)>>,
    pub(super) prefix_place: Place,
    pub(super) redirect_place: Place,
    pub(super) acr_values: Vec<String>,
    pub(super) acr_place: Place,
    /// Where it stands that pages name consents, if they do.
    pub(super) consent_place: Option<Place>,
}

impl Facts {
    /// Compares everything with everything.
    pub(super) fn check(&self, report: &Report) {
        self.issuers_differ(report);
        for (name, app) in &self.apps {
            app.paths_are_apart(report);
            self.ecosystem_is_heeded(app, report);
            for (other_name, other) in self.apps.range::<String, _>(..name) {
                self.apps_are_apart((name, app), (other_name, other), report);
            }
        }
    }

    fn issuers_differ(&self, report: &Report) {
        for (name, provider) in &self.providers {
            for (other, earlier) in self.providers.range::<String, _>(..name) {
                if provider.issuer.is_some() && provider.issuer == earlier.issuer {
                    let remedy = format!(
                        "keep one provider and let several clients use it (providers.{other})"
                    );
                    provider.place.report(
                        report,
                        format!("providers.{other} has the same issuer"),
                        remedy,
                    );
                }
            }
        }
    }

    fn apps_are_apart(
        &self,
        (name, app): (&str, &AppFacts),
        (other_name, other): (&str, &AppFacts),
        report: &Report,
    ) {
        let (Some(origin), Some(other_origin)) = (&app.origin, &other.origin) else { return };
        if origin != other_origin {
            return;
        }
        if covers(&app.prefix, &other.prefix) || covers(&other.prefix, &app.prefix) {
            let message = format!(
                "overlaps with the prefix {} of apps.{other_name} on the same origin",
                other.prefix
            );
            app.prefix_place.report(
                report,
                message,
                "give each app on an origin a prefix of its own",
            );
        }
        for (path, place) in app.routes.iter().flatten() {
            if other
                .routes
                .iter()
                .flatten()
                .any(|(other_path, _)| other_path.eq_ignore_ascii_case(path))
            {
                let message =
                    format!("{path} is also a route of apps.{other_name} on the same origin");
                place.report(report, message, "give each route on an origin a path of its own");
            }
            if meets_prefix(path, &other.prefix) {
                let message = format!(
                    "{path} overlaps with the prefix {} of apps.{other_name}",
                    other.prefix
                );
                place.report(report, message, "move the route or the prefix");
            }
        }
        for (path, place) in other.routes.iter().flatten() {
            if meets_prefix(path, &app.prefix) {
                let message =
                    format!("{path} overlaps with the prefix {} of apps.{name}", app.prefix);
                place.report(report, message, "move the route or the prefix");
            }
        }
        for (one, another, another_name) in [(app, other, other_name), (other, app, name)] {
            if covers(&another.prefix, &one.redirect_path) {
                let message = format!(
                    "{} lies under the prefix {} of apps.{another_name}, which would take its answers (FAPI1-BASE-5.2.3-3)",
                    one.redirect_path, another.prefix
                );
                let remedy = "name a page of the SPA; our own callbacks need no setting";
                one.redirect_place.report(report, message, remedy);
            }
        }
        if app.redirect_path == other.redirect_path
            && let (Some(issuer), Some(other_issuer)) = (self.issuer(app), self.issuer(other))
            && issuer != other_issuer
        {
            let message = format!(
                "{origin}{} would be the redirect URI of two issuers, with apps.{other_name} (FAPI1-BASE-5.2.3-3)",
                app.redirect_path
            );
            app.redirect_place.report(
                report,
                message,
                "give one of the apps another login.redirect_path",
            );
        }
    }

    /// What an app asks for is what its client's ecosystem knows.
    fn ecosystem_is_heeded(&self, app: &AppFacts, report: &Report) {
        let Some(client) = app.client.as_ref().and_then(|name| self.clients.get(name)) else {
            return;
        };
        if let Some(ecosystem) = client.ecosystem {
            let known = |value: &&String| ecosystem.acr_values.contains(&value.as_str());
            for value in app.acr_values.iter().filter(|value| !known(value)) {
                let (name, clause) = (ecosystem.name, ecosystem.clause("acr_values"));
                let message = format!("{} is no value of {name} ({clause})", quoted(value));
                let known: Vec<_> =
                    ecosystem.acr_values.iter().map(|value| format!("\"{value}\"")).collect();
                app.acr_place.report(report, message, format!("write {}", known.join(" or ")));
            }
        }
        let Some(place) = &app.consent_place else { return };
        match client.ecosystem.and_then(|ecosystem| ecosystem.consent) {
            None => place.report(
                report,
                "is not used: no request of the app's client names a consent",
                "remove it, or set the client's ecosystem to one that does",
            ),
            Some(Consent::Claim(name)) if !client.openid() => place.report(
                report,
                format!("has no ID token to bring {name} back in"),
                "add \"openid\" to the client's scopes",
            ),
            Some(_) => {}
        }
    }

    fn issuer(&self, app: &AppFacts) -> Option<&str> {
        let client = self.clients.get(app.client.as_ref()?)?;
        self.providers.get(client.provider.as_ref()?)?.issuer.as_deref()
    }
}

impl AppFacts {
    fn paths_are_apart(&self, report: &Report) {
        if covers(&self.prefix, &self.redirect_path) {
            let message =
                format!("{} lies under the app's prefix {}", self.redirect_path, self.prefix);
            self.redirect_place.report(
                report,
                message,
                "name a page of the SPA; our own callback needs no setting",
            );
        }
        for (index, (path, place)) in
            self.routes.iter().enumerate().filter_map(|(i, route)| Some((i, route.as_ref()?)))
        {
            if self
                .routes
                .iter()
                .take(index)
                .flatten()
                .any(|(earlier, _)| earlier.eq_ignore_ascii_case(path))
            {
                place.report(
                    report,
                    format!("{path} is the path of two routes"),
                    "merge the routes or change one path",
                );
            }
            if meets_prefix(path, &self.prefix) {
                let message = format!("{path} overlaps with the app's prefix {}", self.prefix);
                place.report(report, message, "move the route or the prefix");
            }
        }
    }
}

/// A name that must exist; the only one there is goes without saying.
pub(super) fn reference<'n>(
    section: &mut Section<'_>,
    key: &'static str,
    names: impl ExactSizeIterator<Item = &'n String>,
) -> Option<String> {
    let names: Vec<&String> = names.collect();
    let known = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    if section.has(key) {
        return section.optional(key, |setting: &Setting<'_>| {
            let name = setting.text()?;
            if names.iter().any(|known| **known == name) {
                return Some(name);
            }
            let remedy = if known.is_empty() {
                format!("configure a {key}")
            } else {
                format!("write {known}")
            };
            setting.wrong(format!("there is no {key} of this name"), remedy)
        });
    }
    // Marks the key as known.
    section.optional(key, |_| None::<()>);
    match names.as_slice() {
        [] => None, // that there is none at all has been said
        [only] => Some((*only).clone()),
        _ => {
            section.missing(key, &format!("there are several; write {known}"));
            None
        }
    }
}

/// Whether `path` is `prefix` or lies under it, letter case aside: some upstreams do not mind it.
fn covers(prefix: &str, path: &str) -> bool {
    let (prefix, path) = (prefix.to_ascii_lowercase(), path.to_ascii_lowercase());
    prefix == "/" || is_below(&path, &prefix)
}

/// Whether a route and an app's prefix compete. A route `/` (the SPA's own files) does not: whatever is
/// more special wins, and it is nobody's typing mistake.
fn meets_prefix(route: &str, prefix: &str) -> bool {
    route != "/" && (covers(prefix, route) || covers(route, prefix))
}
