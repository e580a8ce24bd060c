//! Owns the answer to "may traffic come": store, AS metadata, certificates.
//! Must not know: how the answer is served.

use std::sync::Arc;

use crate::{
    admin::{Check, Readiness},
    clock::{Ambient, UnixTime},
    provider::Provider,
    seal::KeyRing,
    session::{BoxFuture, Sessions, StoreUnavailable},
};

/// Readiness of everything a request may need.
pub(super) struct HouseReadiness {
    sessions: Arc<Sessions>,
    providers: Vec<Arc<Provider>>,
    certificates: Vec<(String, UnixTime)>,
    server_keys: String,
    ambient: Ambient,
}

impl HouseReadiness {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        providers: Vec<Arc<Provider>>,
        certificates: Vec<(String, UnixTime)>,
        ring: &KeyRing,
        ambient: Ambient,
    ) -> Self {
        Self { sessions, providers, certificates, server_keys: ring.fingerprints(), ambient }
    }
}

impl Readiness for HouseReadiness {
    fn report(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async move {
            let store = self.sessions.ping().await;
            let mut checks = vec![Check {
                name: "session_store".to_owned(),
                ok: store.is_ok(),
                detail: store.err().map_or_else(
                    || "answers".to_owned(),
                    |StoreUnavailable(why)| format!("unavailable: {why}"),
                ),
            }];
            // It holds always; it is here to be compared with other instances'.
            checks.push(Check {
                name: "server_keys".to_owned(),
                ok: true,
                detail: self.server_keys.clone(),
            });
            // Whether it is known, not whether it answers now: probes must not become AS traffic.
            checks.extend(self.providers.iter().map(|provider| {
                let known = provider.known_metadata().is_some();
                Check {
                    name: format!("metadata {}", provider.registration().provider_label),
                    ok: known,
                    detail: if known { "known" } else { "the AS has not answered yet" }.to_owned(),
                }
            }));
            let now = self.ambient.now();
            // TLS-PRJ-CERT: an expired certificate means every call to come will fail.
            checks.extend(self.certificates.iter().map(|(name, not_after)| Check {
                name: format!("certificate {name}"),
                ok: *not_after > now,
                detail: format!("ends {}", not_after.rfc3339()),
            }));
            checks
        })
    }
}
