//! From what one asks for to what is played: plans by id, variants by parameter, modules by id. Pure;
//! it must not know how anything is played.

use std::collections::{BTreeMap, BTreeSet};

use crate::suite::{
    client::Client,
    hardening, oidf,
    plan::{Entry, Plan, Variant},
    runner::Chosen,
};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Plans whose id contains one of these; all if empty.
    pub(super) plans: Vec<String>,
    /// Parameters that variants must have.
    pub(super) variant: Vec<(String, String)>,
    /// Modules whose id contains one of these; all if empty.
    pub(super) modules: Vec<String>,
    /// Each module once, in the first variant that has it.
    pub(super) once: bool,
    /// Only for the client that `prepare` writes settings of: what a BFF elsewhere is.
    pub(super) prepared: bool,
}

impl Wish {
    /// Whether nothing is left out.
    pub(super) fn is_everything(&self) -> bool {
        self.plans.is_empty() && self.variant.is_empty() && self.modules.is_empty() && !self.once
    }
}

/// Nothing fits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Nothing {
    /// No plan has such an id.
    #[error("no plan is called {0}: see `cargo conformance list`")]
    Plan(String),
    /// No variant has these parameters.
    #[error("no variant of the plans chosen has {0}: see `cargo conformance list --variants`")]
    Variant(String),
    /// No module has such an id.
    #[error("no module of the plans chosen is called {0}: see `cargo conformance list --modules`")]
    Module(String),
}

/// Every plan, supported ones first.
pub(super) fn plans() -> Vec<Plan> {
    let mut plans = oidf::plans();
    plans.push(hardening::plan());
    let supported = |plan: &Plan| plan.variants().iter().any(|v| plan.is_supported(v));
    plans.sort_by_key(|plan| !supported(plan));
    plans
}

/// What to play, and what to say of the rest.
pub(super) fn select(plans: &[Plan], wish: &Wish) -> Result<Vec<Chosen>, Nothing> {
    for id in &wish.plans {
        if !plans.iter().any(|plan| plan.id.contains(id.as_str())) {
            return Err(Nothing::Plan(id.clone()));
        }
    }
    let wanted = |plan: &&Plan| {
        wish.plans.is_empty() || wish.plans.iter().any(|id| plan.id.contains(id.as_str()))
    };
    let fits = |variant: &Variant| {
        wish.variant.iter().all(|(name, value)| variant.get(name) == Some(value))
    };
    let mut chosen = Vec::new();
    for plan in plans.iter().filter(wanted) {
        let variants: Vec<_> = plan.variants().into_iter().filter(fits).collect();
        let (supported, missing): (Vec<_>, Vec<_>) =
            variants.into_iter().partition(|variant| plan.is_supported(variant));
        let asked = |variant: &&Variant| !wish.variant.is_empty() || (plan.by_default)(variant);
        for variant in supported.iter().filter(asked).cloned() {
            let entries = plan.entries(&variant);
            let certification = (plan.certification)(&variant);
            chosen.push(Chosen {
                id: plan.id.to_owned(),
                title: plan.title.to_owned(),
                variant,
                certification,
                entries,
            });
        }
        chosen.extend(unsupported(plan, &missing));
    }
    if wish.prepared {
        let usual = |entry: &Entry| match entry {
            Entry::Ready(module) => Some(module.setup.client == Client::default()),
            Entry::NotYetSupported { .. } => None,
        };
        let playable = |choice: &Chosen| choice.entries.iter().filter_map(usual).max();
        chosen.retain(|choice| playable(choice).unwrap_or(true));
    }
    if chosen.is_empty() {
        let parameters = wish.variant.iter().map(|(name, value)| format!("{name}={value}"));
        return Err(Nothing::Variant(parameters.collect::<Vec<_>>().join(", ")));
    }
    if wish.once {
        let mut known = BTreeSet::new();
        for choice in &mut chosen {
            choice.entries.retain(|entry| !entry.is_ready() || known.insert(entry.id().to_owned()));
        }
        chosen.retain(|choice| !choice.entries.is_empty());
    }
    if wish.modules.is_empty() {
        return Ok(chosen);
    }
    for id in &wish.modules {
        let known = |chosen: &Chosen| chosen.entries.iter().any(|entry| entry.id().contains(id));
        if !chosen.iter().any(known) {
            return Err(Nothing::Module(id.clone()));
        }
    }
    for choice in &mut chosen {
        choice.entries.retain(|entry| wish.modules.iter().any(|id| entry.id().contains(id)));
    }
    chosen.retain(|choice| !choice.entries.is_empty());
    // Whoever asks for a module wants it played; that it is also part of plans that cannot be is
    // no news.
    if chosen.iter().flat_map(|choice| &choice.entries).any(Entry::is_ready) {
        chosen.retain(|choice| choice.entries.iter().any(Entry::is_ready));
    }
    Ok(chosen)
}

/// The variants that cannot be run, as one: every module they have, each with what it needs.
fn unsupported(plan: &Plan, variants: &[Variant]) -> Option<Chosen> {
    let first = variants.first()?;
    let all = plan.variants().len();
    let these = Variant::from([("variants".to_owned(), format!("{} of {all}", variants.len()))]);
    let mut order: Vec<Entry> = Vec::new();
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for variant in variants {
        for entry in plan.entries(variant) {
            let Entry::NotYetSupported { id, lacks, .. } = &entry else { continue };
            needs.entry(id.clone()).or_default().insert(lacks.clone());
            if !order.iter().any(|known| known.id() == entry.id()) {
                order.push(entry);
            }
        }
    }
    for entry in &mut order {
        if let Entry::NotYetSupported { id, lacks, .. } = entry
            && let Some(needed) = needs.get(id)
        {
            *lacks = in_common(needed);
        }
    }
    Some(Chosen {
        id: plan.id.to_owned(),
        title: plan.title.to_owned(),
        variant: if variants.len() == 1 { first.clone() } else { these },
        certification: None,
        entries: order,
    })
}

/// What all need; if that is nothing, the least that one needs.
fn in_common(needed: &BTreeSet<String>) -> String {
    let parts = |list: &str| -> BTreeSet<String> { list.split(", ").map(str::to_owned).collect() };
    let mut sets = needed.iter().map(|list| parts(list));
    let common = sets
        .next()
        .map(|first| sets.fold(first, |all, next| all.intersection(&next).cloned().collect()));
    if let Some(common) = common.filter(|common| !common.is_empty()) {
        return common.into_iter().collect::<Vec<_>>().join(", ");
    }
    let any: BTreeSet<String> = needed.iter().flat_map(|list| parts(list)).collect();
    any.into_iter().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(plans: &[&str], variant: &[(&str, &str)], modules: &[&str]) -> Wish {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Wish {
            plans: owned(plans),
            variant: variant.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            modules: owned(modules),
            ..Wish::default()
        }
    }

    fn ids(chosen: &[Chosen]) -> Vec<(&str, usize, bool)> {
        let ready = |c: &Chosen| c.entries.iter().any(Entry::is_ready);
        chosen.iter().map(|c| (c.id.as_str(), c.entries.len(), ready(c))).collect()
    }

    #[test]
    fn everything_is_listed_and_only_what_is_supported_is_played() {
        let chosen = select(&plans(), &Wish::default()).unwrap();
        let ids = ids(&chosen);
        assert_eq!(ids[0], ("fapi2-message-signing-final-client-test-plan", 26, true));
        let played = |id: &str| ids.iter().filter(|(plan, _, ready)| *plan == id && *ready).count();
        // What is to be certified: every way to authenticate, to bind, to ask and to answer.
        // Rich requests, once in each plan; and each national scheme that goes by it.
        assert_eq!(played("fapi2-security-profile-final-client-test-plan"), 8 + 1 + 1);
        assert_eq!(played("fapi2-message-signing-final-client-test-plan"), 3 * 8 + 1 + 1);
        assert_eq!(played("fapi1-advanced-final-client-test-plan"), 12 + 3);
        for (id, variants) in [
            ("oidcc-client-basic-certification-test-plan", 2),
            ("oidcc-client-config-certification-test-plan", 4),
            ("oidcc-client-formpost-basic-certification-test-plan", 2),
            ("oidcc-client-rp-initiated-logout-rp-basic", 4),
            ("oidcc-client-refreshtoken-test-plan", 4),
            ("oidcc-client-test-plan", 4),
            ("oidcc-client-back-channel-logout-rp-basic", 4),
            ("oidcc-client-front-channel-logout-rp-basic", 4),
            ("oidcc-client-logout-test-plan", 4),
            ("oidcc-client-rp-session-management-rp-basic", 0),
            ("bff-hardening-test-plan", 1),
        ] {
            assert_eq!(played(id), variants, "{id}");
        }
        // The other variants of a plan are listed once, with every module any of them has.
        let listed: Vec<_> = ids.iter().filter(|(.., ready)| !ready).map(|(id, ..)| *id).collect();
        let distinct: BTreeSet<_> = listed.iter().collect();
        assert_eq!((listed.len(), distinct.len()), (4, 4));
    }

    #[test]
    fn each_module_is_played_once_if_that_is_enough() {
        let chosen = select(&plans(), &Wish { once: true, ..Wish::default() }).unwrap();
        let ready = chosen.iter().flat_map(|choice| &choice.entries).filter(|e| e.is_ready());
        let all: Vec<_> = ready.map(Entry::id).collect();
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
        for id in ["rs-dpop-auth-scheme-case-insensitivity", "remove-authorization-response-iss"] {
            assert!(all.iter().any(|known| known.ends_with(id)), "{id}");
        }
        let wish = Wish { once: true, ..wish(&[], &[], &["test-happy-path"]) };
        let chosen = select(&plans(), &wish).unwrap();
        let (id, modules, ready) = ids(&chosen)[0];
        assert_eq!((modules, ready), (1, true));
        assert_eq!(id, "fapi2-message-signing-final-client-test-plan");
    }

    #[test]
    fn a_bff_elsewhere_is_asked_for_what_its_settings_are() {
        let chosen = select(&plans(), &Wish { prepared: true, ..Wish::default() }).unwrap();
        let ready: Vec<_> = ids(&chosen).into_iter().filter(|(.., ready)| *ready).collect();
        let plans: Vec<_> = ready.iter().map(|(id, ..)| *id).collect();
        assert_eq!(
            plans,
            ["fapi2-message-signing-final-client-test-plan", "bff-hardening-test-plan"]
        );
    }

    #[test]
    fn a_module_is_played_where_it_can_be() {
        let chosen = select(&plans(), &wish(&[], &[], &["ensure-jarm-without-iss"])).unwrap();
        let plan = ("fapi2-message-signing-final-client-test-plan", 1, true);
        assert_eq!(ids(&chosen), [plan; 18], "wherever the response is signed");
        let chosen = select(&plans(), &wish(&[], &[], &["rp-frontchannel"])).unwrap();
        let front = ("oidcc-client-front-channel-logout-rp-basic", 1, true);
        let every = ("oidcc-client-logout-test-plan", 2, true);
        assert_eq!(ids(&chosen), [[front; 4], [every; 4]].concat());
    }

    #[test]
    fn a_variant_is_found_by_its_parameters() {
        let dpop = [
            ("sender_constrain", "dpop"),
            ("fapi_client_type", "plain_oauth"),
            ("fapi_profile", "openbanking_uk"),
            ("authorization_request_type", "rar"),
        ];
        let chosen = select(&plans(), &wish(&["security-profile"], &dpop, &[])).unwrap();
        assert_eq!(ids(&chosen), [("fapi2-security-profile-final-client-test-plan", 12, false)]);
        let Entry::NotYetSupported { lacks, .. } = &chosen[0].entries[0] else { unreachable!() };
        assert_eq!(lacks, "an ID token (it must bring the consent back)");
    }

    #[test]
    fn what_is_not_there_is_said_by_name() {
        let nothing = |wish| select(&plans(), &wish).unwrap_err();
        assert_eq!(nothing(wish(&["nope"], &[], &[])), Nothing::Plan("nope".to_owned()));
        assert_eq!(nothing(wish(&[], &[], &["nope"])), Nothing::Module("nope".to_owned()));
        let other = nothing(wish(&[], &[("sender_constrain", "nope")], &[]));
        assert_eq!(other, Nothing::Variant("sender_constrain=nope".to_owned()));
    }

    #[test]
    fn what_variants_need_in_common_is_what_their_modules_need() {
        let set = |lists: &[&str]| lists.iter().map(|list| (*list).to_owned()).collect();
        assert_eq!(in_common(&set(&["DPoP, profile x", "profile x"])), "profile x");
        assert_eq!(in_common(&set(&["DPoP", "mTLS"])), "DPoP or mTLS");
    }
}
