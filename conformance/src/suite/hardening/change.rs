//! Ways to change the authorization server's behaviour, as values that modules carry.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::Value;

use crate::{
    as_double::{AsDouble, Behaviour, Endpoint, FaultRule, Tamper, Target},
    jws::Object,
    suite::module::Module,
};

/// A change of behaviour.
#[derive(Clone)]
pub(super) struct Change {
    change: Arc<dyn Fn(&mut Behaviour) + Send + Sync>,
    /// Whether a BFF that has met the server before would not notice.
    fresh: bool,
}

impl Change {
    /// Changes the behaviour.
    pub(super) fn apply(&self, behaviour: &mut Behaviour) {
        (self.change)(behaviour);
    }

    /// A module in which the server behaves so from the start.
    pub(super) fn throughout(self, module: Module) -> Module {
        let fresh = self.fresh;
        let before = move |double: &AsDouble| double.behave(|behaviour| self.apply(behaviour));
        if fresh { module.prepared(before) } else { module.behaving(before) }
    }

    /// The same, for a BFF that has not met the server before.
    pub(super) fn for_a_fresh_bff(self) -> Self {
        Self { fresh: true, ..self }
    }
}

/// Any change.
pub(super) fn change(change: impl Fn(&mut Behaviour) + Send + Sync + 'static) -> Change {
    Change { change: Arc::new(change), fresh: false }
}

/// Several changes, in order.
pub(super) fn all(changes: Vec<Change>) -> Change {
    let fresh = changes.iter().any(|change| change.fresh);
    let all = change(move |behaviour| changes.iter().for_each(|change| change.apply(behaviour)));
    Change { fresh, ..all }
}

/// Every object of this kind is edited.
pub(super) fn edit(target: Target, edit: impl Fn(&mut Object) + Send + Sync + 'static) -> Change {
    let edit = Arc::new(edit);
    let edited = change(move |behaviour| {
        let edit = Arc::clone(&edit);
        behaviour.edit(target, move |object| edit(object));
    });
    Change { fresh: matches!(target, Target::Jwks | Target::Metadata), ..edited }
}

/// Every token of this kind is spoiled.
pub(super) fn tamper(target: Target, tamper: Tamper) -> Change {
    change(move |behaviour| behaviour.tamper(target, tamper.clone()))
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

/// The signature of every token of this kind is replaced by what this makes of its bytes.
pub(super) fn signature(
    target: Target,
    change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Change {
    rewrite(target, move |token| {
        let (input, signature) = token.rsplit_once('.').unwrap_or_default();
        format!("{input}.{}", B64.encode(change(&B64.decode(signature).unwrap_or_default())))
    })
}

/// A time claim lies so many seconds from the moment of issue (`iat`), negative for before.
pub(super) fn placed(target: Target, claim: &'static str, from_issue: i64) -> Change {
    edit(target, move |claims| {
        let issued = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
        claims.insert(claim.to_owned(), (issued + from_issue).into());
    })
}

/// The parameters of every authorization response are edited last.
pub(super) fn parameters(
    edit: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static,
) -> Change {
    let edit = Arc::new(edit);
    change(move |behaviour| {
        let edit = Arc::clone(&edit);
        behaviour.redirect_params(move |parameters| edit(parameters));
    })
}

/// An endpoint is disturbed.
pub(super) fn fault(endpoint: Endpoint, rule: impl Into<FaultRule>) -> Change {
    let rule = rule.into();
    let disturbed = change(move |behaviour| behaviour.fault(endpoint, rule.clone()));
    Change { fresh: matches!(endpoint, Endpoint::Jwks | Endpoint::Metadata), ..disturbed }
}
