//! Ways to change the authorization server's behaviour, as values that modules carry.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    as_double::{Behaviour, Tamper, Target},
    jws::Object,
};

/// A change of behaviour.
pub(super) type Change = Arc<dyn Fn(&mut Behaviour) + Send + Sync>;

/// Every object of this kind is edited.
pub(super) fn edit(target: Target, change: impl Fn(&mut Object) + Send + Sync + 'static) -> Change {
    let change = Arc::new(change);
    Arc::new(move |behaviour| {
        let change = Arc::clone(&change);
        behaviour.edit(target, move |object| change(object));
    })
}

/// Every token of this kind is spoiled.
pub(super) fn tamper(target: Target, tamper: Tamper) -> Change {
    Arc::new(move |behaviour| behaviour.tamper(target, tamper.clone()))
}

/// Members of every header of this kind are replaced; a null removes one.
pub(super) fn header(target: Target, members: &Value) -> Change {
    tamper(target, Tamper::Header(members.as_object().cloned().unwrap_or_default()))
}

/// Every token of this kind is replaced by what this makes of it.
pub(super) fn rewrite(
    target: Target,
    rewrite: impl Fn(String) -> String + Send + Sync + 'static,
) -> Change {
    tamper(target, Tamper::Rewrite(Arc::new(rewrite)))
}

/// A time claim lies so many seconds from the moment of issue (`iat`), negative for before.
#[expect(dead_code, reason = "its modules come next")]
pub(super) fn placed(target: Target, claim: &'static str, from_issue: i64) -> Change {
    edit(target, move |claims| {
        let issued = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        claims.insert(claim.to_owned(), (issued + from_issue).into());
    })
}
