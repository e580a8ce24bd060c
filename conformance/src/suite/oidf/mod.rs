//! The official suite's client plans, module by module, with its ids, variants and mutations. What a
//! module tests stands in one table a plan family; it must not know how a browser is driven.

mod acts;
mod fapi1;
mod fapi2;
mod oidcc;
mod script;

pub(super) use self::script::strip;
use super::{
    client::Client,
    ecosystem::Scheme,
    module::Playing,
    mutation::Mutation,
    plan::{Entry, Plan, Variant, value},
    stage::Stage,
};
use crate::as_double::{Behaviour, ResponseForm};

/// When a module of the official suite is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    /// With the accounts call.
    Accounts,
    /// With the userinfo call.
    Userinfo,
    /// When the script says so.
    Script,
    /// With silence after the metadata.
    Metadata,
    /// With silence after the authorization response.
    Response,
    /// With silence after the token response.
    TokenResponse,
    /// With silence after the first response that has an ID token in it.
    IdToken,
}

/// Plays a module in its own way.
type Play = for<'a> fn(&'a mut Stage) -> Playing<'a>;

/// One row of a table of modules.
struct Row {
    /// The id without the family's prefix.
    suffix: &'static str,
    does: &'static str,
    must: &'static str,
    mutation: Mutation,
    /// How the server behaves beside that.
    besides: fn(&mut Behaviour),
    over: Over,
    /// Reason codes of which the BFF must give one.
    reasons: &'static [&'static str],
    clauses: &'static [&'static str],
    /// Which variants have it.
    when: fn(&Variant) -> bool,
    /// The client it needs instead of the variant's.
    client: fn(&Client) -> Client,
    /// How it is played, if not by logging in and looking what comes of it.
    play: Option<Play>,
    /// Rules that it makes the client break, by name.
    provokes: &'static [&'static str],
    /// What the product lacks for it, in every variant.
    lacks: Option<&'static str>,
}

/// A row that says nothing yet: everything is right, and the client goes all the way.
const ROW: Row = Row {
    suffix: "",
    does: "",
    must: "",
    mutation: Mutation::Nothing,
    besides: |_| {},
    over: Over::Accounts,
    reasons: &[],
    clauses: &[],
    when: always,
    client: Client::clone,
    play: None,
    provokes: &[],
    lacks: None,
};

/// The rows that a variant has, as modules for its client.
fn entries(prefix: &str, rows: &[Row], variant: &Variant, client: &Client) -> Vec<Entry> {
    let entry = |row: &Row| {
        let id = format!("{prefix}{}", row.suffix);
        let client = (row.client)(client);
        let ready = Entry::Ready(Box::new(script::module(&id, row, client)));
        match row.lacks {
            None => ready,
            Some(what) => ready.lacking(what),
        }
    };
    rows.iter().filter(|row| (row.when)(variant)).map(entry).collect()
}

/// Where the first ID token comes.
const fn first_id_token(client: &Client) -> Over {
    match client.conduct.response {
        ResponseForm::Hybrid => Over::Response,
        ResponseForm::Jarm | ResponseForm::Plain => Over::TokenResponse,
    }
}

/// The client in the scheme that a plan means by this value of `fapi_profile`, if it is one.
fn within(client: Client, fapi_profile: &str) -> Client {
    match Scheme::of(fapi_profile) {
        Some(scheme) => client.within(scheme),
        None => client,
    }
}

/// What of a scheme is lacking for this client.
fn scheme_lacks(fapi_profile: &str, client: &Client) -> Option<&'static str> {
    match Scheme::of(fapi_profile) {
        _ if fapi_profile == "plain_fapi" => None,
        None => Some("presets of other national schemes"),
        Some(scheme) => scheme.rules_out(client),
    }
}

const fn always(_: &Variant) -> bool {
    true
}

/// The client asks for ID tokens, in either FAPI plan.
fn oidc(variant: &Variant) -> bool {
    value(variant, "fapi_client_type") == "oidc"
}

/// Every plan of the official suite that this harness knows.
pub fn plans() -> Vec<Plan> {
    let mut plans = vec![fapi2::message_signing(), fapi2::security_profile(), fapi1::advanced()];
    plans.extend(oidcc::plans());
    plans
}
