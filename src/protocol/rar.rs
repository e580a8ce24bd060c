//! Owns rich authorization requests (RFC 9396): what details are, which of them may be asked for, and
//! whether what was granted is within what was asked. Must not know: where details come from, or what
//! a type's members mean to its API.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::jose::Claims;

use super::reason::rejection;

/// Most objects in one request or grant.
const MAX_OBJECTS: usize = 16;
/// Longest details in one request or grant, in bytes of their JSON: asked-for details travel in a
/// cookie, with the rest of the login (CK-6.1).
pub const MAX_DETAILS_BYTES: usize = 1024;
/// Longest `type`, in bytes.
const MAX_TYPE_BYTES: usize = 128;
/// The members every API shares (RFC 9396 §2.2) that are lists of strings.
const LISTS: [&str; 4] = ["locations", "actions", "datatypes", "privileges"];

rejection! {
    /// Why details are not used.
    pub enum DetailsRejected {
        NotAnArray => "details.not_an_array", "`authorization_details` is not an array (RAR-2)";
        Empty => "details.empty", "`authorization_details` has no element (RAR-2)";
        TooMany => "details.too_many", "`authorization_details` has more than 16 elements";
        TooLarge => "details.too_large", "`authorization_details` is longer than 1024 bytes";
        NotAnObject => "details.not_an_object", "an element is not an object (RAR-2)";
        TypeMissing => "details.type_missing", "an element has no type (RAR-2)";
        TypeMalformed => "details.type_malformed", "a type is empty, too long or not printable";
        MemberType => "details.member_type", "a member that every API shares has the wrong type (RFC 9396 §2.2)";
        NotJson => "details.not_json", "the details are not JSON, or a member occurs twice";
    }
}

/// Authorization details: objects, each with its `type`; none of them only as what was granted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorizationDetails(Vec<Map<String, Value>>);

impl AuthorizationDetails {
    /// A grant that covers nothing.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads details of any origin (RAR-2). What a type's own members hold is its API's to judge.
    pub fn read(value: &Value) -> Result<Self, DetailsRejected> {
        let elements = value.as_array().ok_or(DetailsRejected::NotAnArray)?;
        match elements.len() {
            0 => return Err(DetailsRejected::Empty),
            1..=MAX_OBJECTS => {}
            _ => return Err(DetailsRejected::TooMany),
        }
        let objects = elements
            .iter()
            .map(|element| {
                let object = element.as_object().ok_or(DetailsRejected::NotAnObject)?;
                check(object)?;
                Ok(object.clone())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(objects))
    }

    /// Reads the details that a login is to ask for: as [`Self::read`], and short enough for it.
    pub fn to_ask(value: &Value) -> Result<Self, DetailsRejected> {
        let details = Self::read(value)?;
        if value.to_string().len() > MAX_DETAILS_BYTES {
            return Err(DetailsRejected::TooLarge);
        }
        Ok(details)
    }

    /// Reads the details that a server of ours has for a login: a JSON array in which no member
    /// occurs twice, at any depth.
    pub fn to_ask_from(json: &[u8]) -> Result<Self, DetailsRejected> {
        if json.len() > MAX_DETAILS_BYTES {
            return Err(DetailsRejected::TooLarge);
        }
        // The strict reader takes objects.
        let wrapped = [b"{\"details\":", json, b"}"].concat();
        let object = Claims::parse(&wrapped).map_err(|_| DetailsRejected::NotJson)?;
        // One member, or the text closed our object and opened others.
        let only = object.as_map().len() == 1;
        let details = object.get("details").filter(|_| only).ok_or(DetailsRejected::NotJson)?;
        Self::to_ask(details)
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The `type` of every element.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|object| object.get("type")?.as_str())
    }

    /// Whether an element has this `type`.
    pub fn has_type(&self, wanted: &str) -> bool {
        self.types().any(|kind| kind == wanted)
    }

    /// The details as they are sent.
    pub fn to_values(&self) -> Vec<Value> {
        self.0.iter().cloned().map(Value::Object).collect()
    }

    /// Whether every element of `granted` is within one of these, and no two within the same (RAR-7):
    /// an AS that grants one payment twice grants more than was asked.
    ///
    /// Within means: of the same `type`; a member asked for is there again, equal, or narrower. A list
    /// that was empty may be filled in, as the AS does with the accounts a user picks (RFC 9396 §7.1);
    /// one that was not may only lose elements, but not all. The shared members `locations`, `actions`,
    /// `datatypes`, `privileges` and `identifier` never come to more, and none of them is added.
    /// What is added else must be the name of the thing: a member `id`, `…_id` or `…Id` with text or a
    /// number, or one of `enrichable`.
    pub fn cover(&self, granted: &Self, enrichable: &[String]) -> bool {
        one_to_one(&granted.0, &self.0, &|granted, asked| {
            object_within(granted, asked, enrichable, true)
        })
    }
}

impl fmt::Debug for AuthorizationDetails {
    /// The types only: amounts and accounts are nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.types()).finish()
    }
}

/// Whether every granted element fits one asked for, and no two the same: a bipartite matching, so
/// that the order of elements decides nothing.
fn one_to_one<T>(granted: &[T], asked: &[T], fits: &dyn Fn(&T, &T) -> bool) -> bool {
    let fitting = granted.iter().map(|one| {
        let places = asked.iter().enumerate().filter(|(_, asked)| fits(one, asked));
        places.map(|(place, _)| place).collect()
    });
    let fitting: Vec<Vec<usize>> = fitting.collect();
    let mut taken = BTreeMap::new();
    (0..granted.len()).all(|one| seat(one, &fitting, &mut taken, &mut BTreeSet::new()))
}

/// Finds a place for a granted element, moving others along if need be.
fn seat(
    one: usize,
    fitting: &[Vec<usize>],
    taken: &mut BTreeMap<usize, usize>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    for place in fitting.get(one).into_iter().flatten() {
        if !tried.insert(*place) {
            continue;
        }
        let held = taken.get(place).copied();
        if held.is_none_or(|other| seat(other, fitting, taken, tried)) {
            taken.insert(*place, one);
            return true;
        }
    }
    false
}

/// Judges what RFC 9396 §2 says of every element.
fn check(object: &Map<String, Value>) -> Result<(), DetailsRejected> {
    let kind = object.get("type").ok_or(DetailsRejected::TypeMissing)?;
    let printable = |kind: &&str| {
        (1..=MAX_TYPE_BYTES).contains(&kind.len()) && kind.bytes().all(|c| c.is_ascii_graphic())
    };
    kind.as_str().filter(printable).ok_or(DetailsRejected::TypeMalformed)?;
    let strings =
        |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let lists = LISTS.iter().filter_map(|name| object.get(*name)).all(strings);
    let identifier = object.get("identifier").is_none_or(Value::is_string);
    if lists && identifier { Ok(()) } else { Err(DetailsRejected::MemberType) }
}

/// Whether a granted object comes to no more than the one asked for; `shared` where the names every
/// API shares have their meaning, which is at the top.
fn object_within(
    granted: &Map<String, Value>,
    asked: &Map<String, Value>,
    enrichable: &[String],
    shared: bool,
) -> bool {
    let kept = asked.iter().all(|(name, asked)| {
        granted.get(name).is_some_and(|granted| {
            let fillable = !(shared && LISTS.contains(&name.as_str()));
            value_within(granted, asked, enrichable, fillable)
        })
    });
    let added = granted.iter().filter(|(name, _)| !asked.contains_key(*name));
    kept && added.into_iter().all(|(name, value)| {
        let common = LISTS.contains(&name.as_str()) || name == "identifier" || name == "type";
        let names = name == "id" || name.ends_with("_id") || name.ends_with("Id");
        let plain = value.is_string() || value.is_number();
        !(shared && common) && ((names && plain) || enrichable.contains(name))
    })
}

fn value_within(granted: &Value, asked: &Value, enrichable: &[String], fillable: bool) -> bool {
    match (granted, asked) {
        (Value::Object(granted), Value::Object(asked)) => {
            object_within(granted, asked, enrichable, false)
        }
        (Value::Array(granted), Value::Array(asked)) if asked.is_empty() => {
            fillable || granted.is_empty()
        }
        (Value::Array(granted), Value::Array(asked)) => {
            // An empty list means everything to some APIs, and must not come of one that was not.
            !granted.is_empty()
                && one_to_one(granted, asked, &|granted, asked| {
                    value_within(granted, asked, enrichable, fillable)
                })
        }
        _ => granted == asked,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> AuthorizationDetails {
        AuthorizationDetails::read(value).unwrap()
    }

    fn covers(asked: &Value, granted: &Value) -> bool {
        read(asked).cover(&read(granted), &["balance".to_owned()])
    }

    fn payment() -> Value {
        json!({"type": "payment", "locations": ["https://api.example/payments"],
            "actions": ["initiate", "status"], "instructedAmount": {"currency": "EUR", "amount": "123.50"},
            "creditors": [{"name": "A"}, {"name": "B"}], "debtors": [], "identifier": "p-1"})
    }

    /// The payment, one member changed.
    fn with(name: &str, value: Value) -> Value {
        let mut changed = payment();
        changed[name] = value;
        changed
    }

    fn without(name: &str) -> Value {
        let mut changed = payment();
        changed.as_object_mut().unwrap().remove(name);
        changed
    }

    /// RAR-2.
    #[test]
    fn details_are_an_array_of_objects_with_a_type() {
        use DetailsRejected as Why;
        let many = |count| Value::Array(vec![json!({"type": "a"}); count]);
        let kind = |length| json!([{"type": "t".repeat(length)}]);
        for (value, why) in [
            (json!({"type": "a"}), Why::NotAnArray),
            (json!("[{\"type\":\"a\"}]"), Why::NotAnArray),
            (json!(null), Why::NotAnArray),
            (json!([]), Why::Empty),
            (many(17), Why::TooMany),
            (json!([{"type": "a"}, "b"]), Why::NotAnObject),
            (json!([[{"type": "a"}]]), Why::NotAnObject),
            (json!([{}]), Why::TypeMissing),
            (json!([{"type": "a"}, {"Type": "a"}]), Why::TypeMissing),
            (json!([{"type": null}]), Why::TypeMalformed),
            (json!([{"type": ["a"]}]), Why::TypeMalformed),
            (json!([{"type": ""}]), Why::TypeMalformed),
            (json!([{"type": "a b"}]), Why::TypeMalformed),
            (json!([{"type": "å"}]), Why::TypeMalformed),
            (kind(129), Why::TypeMalformed),
            (json!([{"type": "a", "locations": "https://x"}]), Why::MemberType),
            (json!([{"type": "a", "actions": [1]}]), Why::MemberType),
            (json!([{"type": "a", "datatypes": {}}]), Why::MemberType),
            (json!([{"type": "a", "privileges": null}]), Why::MemberType),
            (json!([{"type": "a", "identifier": 7}]), Why::MemberType),
        ] {
            assert_eq!(AuthorizationDetails::read(&value), Err(why), "{value}");
        }
        for good in [many(16), kind(1), kind(128), json!([payment()])] {
            assert_eq!(Value::Array(read(&good).to_values()), good);
        }
    }

    #[test]
    fn what_is_asked_for_is_bounded_and_read_strictly() {
        let of = |length: usize| json!([{"type": "a", "x": "x".repeat(length)}]);
        let room = MAX_DETAILS_BYTES - of(0).to_string().len();
        assert!(AuthorizationDetails::to_ask(&of(room)).is_ok());
        let long = of(room + 1);
        assert_eq!(AuthorizationDetails::to_ask(&long), Err(DetailsRejected::TooLarge));
        let from = |text: &str| AuthorizationDetails::to_ask_from(text.as_bytes());
        assert_eq!(from(&long.to_string()), Err(DetailsRejected::TooLarge));
        assert!(from(" [{\"type\": \"a\"}]\n").is_ok());
        for text in [
            "",
            "[",
            "[{\"type\":\"a\",\"type\":\"b\"}]",
            "[{\"type\":\"a\",\"x\":{\"y\":1,\"y\":2}}]",
            "[{\"type\":\"a\"}],\"more\":1",
            "[{\"type\":\"a\"}],\"details\":[]",
            "[{\"type\":\"a\"}]} {",
        ] {
            assert_eq!(from(text), Err(DetailsRejected::NotJson), "{text}");
        }
        assert_eq!(from("{\"type\":\"a\"}"), Err(DetailsRejected::NotAnArray));
    }

    /// RAR-7: equal, or narrower in a way that is plainly narrower.
    #[test]
    fn a_grant_within_the_request_is_covered() {
        let asked = json!([payment()]);
        for granted in [
            payment(),
            with("actions", json!(["status"])),
            with("creditors", json!([{"name": "B"}])),
            // RFC 9396 §7.1: what the user picks.
            with("debtors", json!([{"iban": "DE40100100103307118608"}])),
            with("payment_id", json!("77")),
            with("consentId", json!(77)),
            with("id", json!("77")),
            with("balance", json!({"any": "thing"})),
            with("instructedAmount", json!({"currency": "EUR", "amount": "123.50", "id": "1"})),
        ] {
            assert!(covers(&asked, &json!([granted])), "{granted}");
        }
    }

    /// RAR-7: each of these would let the token do what nobody asked for.
    #[test]
    fn a_grant_beyond_the_request_is_not_covered() {
        let asked = json!([payment()]);
        for granted in [
            with("type", json!("payments")),
            with("type", json!("PAYMENT")),
            with("locations", json!(["https://evil.example"])),
            with("locations", json!(["https://api.example/payments", "https://b.example"])),
            with("locations", json!([])),
            without("locations"),
            with("actions", json!(["initiate", "status", "cancel"])),
            with("actions", json!([])),
            with("actions", json!(["initiate", "initiate", "initiate"])),
            without("actions"),
            with("datatypes", json!(["all"])),
            with("privileges", json!(["admin"])),
            with("identifier", json!("p-2")),
            without("identifier"),
            with("instructedAmount", json!({"currency": "EUR", "amount": "1123.50"})),
            with("instructedAmount", json!({"currency": "EUR", "amount": 123.50})),
            with("instructedAmount", json!({"currency": "EUR"})),
            with("instructedAmount", json!({"currency": "EUR", "amount": "123.50", "tip": "1"})),
            with("instructedAmount", json!("123.50")),
            without("instructedAmount"),
            with("creditors", json!([])),
            with("creditors", json!([{"name": "C"}])),
            with("creditors", json!([{"name": "A"}, {"name": "A"}])),
            with("creditors", json!([{"name": "A", "share": 1}])),
            without("creditors"),
            without("debtors"),
            with("debtors", json!("everybody")),
            with("recurring", json!(true)),
            with("payment_id", json!(["1", "2"])),
            with("payment_id", json!({"any": true})),
            with("payment_id", json!(null)),
            with("Balance", json!(1)),
        ] {
            assert!(!covers(&asked, &json!([granted])), "{granted}");
        }
        let bare = json!([{"type": "payment", "actions": []}]);
        assert!(!covers(&bare, &json!([{"type": "payment", "actions": ["initiate"]}])));
        assert!(!covers(&bare, &json!([{"type": "payment", "actions": [], "identifier": "x"}])));
    }

    /// One thing asked for is granted once.
    #[test]
    fn elements_are_matched_one_to_one_in_any_order() {
        let (wide, narrow) =
            (json!({"type": "a", "actions": ["r", "w"]}), json!({"type": "a", "actions": ["r"]}));
        let other = json!({"type": "b"});
        let all = json!([wide, narrow, other]);
        for granted in [
            json!([wide]),
            json!([narrow]),
            json!([other]),
            json!([narrow, narrow]),
            json!([narrow, wide]),
            json!([other, narrow, wide]),
        ] {
            assert!(covers(&all, &granted), "{granted}");
        }
        for granted in [
            json!([wide, wide]),
            json!([narrow, narrow, narrow]),
            json!([narrow, narrow, wide]),
            json!([other, other]),
            json!([{"type": "c"}]),
        ] {
            assert!(!covers(&all, &granted), "{granted}");
        }
    }

    #[test]
    fn debug_shows_types_only() {
        assert_eq!(format!("{:?}", read(&json!([payment()]))), "[\"payment\"]");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = AuthorizationDetails::to_ask_from(text.as_bytes());
        }
    }
}
