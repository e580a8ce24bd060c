//! Owns the numbers for Prometheus: names, labels, buckets.
//! Must not know what produces them. Labels are bounded by type: a `&'static str` comes from a closed
//! set in the code, a `&str` is a name from the configuration and passes through [`Names`].

use std::{
    collections::HashSet,
    fmt,
    sync::{PoisonError, RwLock},
};

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::Audit;
use crate::seal::KeyId;

/// Seconds; a request answered from memory to one that waited for a slow upstream.
const ANSWER_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds; an operation of a store on this machine or a near one.
const STORE_BUCKETS: &[f64] =
    &[0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// All metrics, in a registry of their own. They only ever grow or are set; nothing resets them.
pub struct Metrics {
    registry: Registry,
    names: Names,
    logins: IntCounterVec,
    login_seconds: HistogramVec,
    refreshes: IntCounterVec,
    refresh_seconds: HistogramVec,
    refresh_lease_wait: HistogramVec,
    refreshes_abandoned: IntCounterVec,
    sessions_started: IntCounterVec,
    sessions_remembered: IntCounterVec,
    sessions_ended: IntCounterVec,
    sessions_refused: IntCounterVec,
    sessions_active: IntGauge,
    unknown_server_keys: IntCounterVec,
    sessions_not_carried: IntCounterVec,
    server_keys: IntGaugeVec,
    backchannel_logouts: IntCounterVec,
    revocations: IntCounterVec,
    guard_rejections: IntCounterVec,
    as_calls: IntCounterVec,
    as_call_seconds: HistogramVec,
    jwks_fetches: IntCounterVec,
    jwks_fetched_at: IntGaugeVec,
    jwks_keys_skipped: IntCounterVec,
    store_operations: IntCounterVec,
    store_seconds: HistogramVec,
    upstream_answers: IntCounterVec,
    upstream_seconds: HistogramVec,
    upstream_streams: IntGaugeVec,
    step_ups: IntCounterVec,
    not_after: IntGaugeVec,
    http_answers: IntCounterVec,
    http_seconds: HistogramVec,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
    started_at: Gauge,
}

impl Metrics {
    /// All metrics at zero.
    #[expect(clippy::too_many_lines, reason = "a list of all metrics is best read as one")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            names: Names::default(),
            logins: counters(r, "logins_total", "Logins.", &["app", "outcome", "reason"]),
            login_seconds: histogram(
                r,
                "login_seconds",
                "From the authorization response to the session.",
                &["app"],
                ANSWER_BUCKETS,
            ),
            refreshes: counters(r, "refreshes_total", "Token refreshes.", &["app", "outcome"]),
            refresh_seconds: histogram(
                r,
                "refresh_seconds",
                "Token refreshes, waiting for others included.",
                &["app"],
                ANSWER_BUCKETS,
            ),
            refresh_lease_wait: histogram(
                r,
                "refresh_lease_wait_seconds",
                "Waiting for other instances before a refresh.",
                &[],
                ANSWER_BUCKETS,
            ),
            refreshes_abandoned: counters(
                r,
                "refreshes_abandoned_total",
                "Refreshes found broken off by the instance that had begun them.",
                &["app"],
            ),
            sessions_started: counters(r, "sessions_started_total", "Sessions begun.", &["app"]),
            sessions_remembered: counters(
                r,
                "session_cache_hits_total",
                "Sessions found among those read a moment ago.",
                &[],
            ),
            sessions_ended: counters(
                r,
                "sessions_ended_total",
                "Sessions ended.",
                &["app", "reason"],
            ),
            sessions_refused: counters(
                r,
                "sessions_refused_total",
                "Logins that found no room for another session of their user.",
                &["app"],
            ),
            sessions_active: registered(
                r,
                IntGauge::new("fapi_bff_sessions_active", "Sessions in the store."),
            ),
            sessions_not_carried: counters(
                r,
                "sessions_not_carried_total",
                "Sessions that did not fit their cookies: logins refused, or kept in the store.",
                &["app"],
            ),
            unknown_server_keys: counters(
                r,
                "unknown_server_key_total",
                "Session cookies made under a server key that is not in use here.",
                &["app"],
            ),
            server_keys: gauges(
                r,
                "server_key",
                "Ids of the server keys in use; compare them between instances.",
                &["key", "role"],
            ),
            backchannel_logouts: counters(
                r,
                "backchannel_logouts_total",
                "Back-channel logouts received.",
                &["app", "outcome", "reason"],
            ),
            revocations: counters(
                r,
                "revocations_total",
                "Tokens given up at authorization servers, and what became of them.",
                &["provider", "outcome"],
            ),
            guard_rejections: counters(
                r,
                "guard_rejections_total",
                "Requests stopped before they reached a session.",
                &["app", "reason"],
            ),
            as_calls: counters(
                r,
                "as_calls_total",
                "Calls to authorization servers.",
                &["provider", "endpoint", "outcome"],
            ),
            as_call_seconds: histogram(
                r,
                "as_call_seconds",
                "Calls to authorization servers.",
                &["provider", "endpoint"],
                ANSWER_BUCKETS,
            ),
            jwks_fetches: counters(
                r,
                "jwks_fetches_total",
                "Fetches of authorization servers' keys.",
                &["provider", "cause", "outcome"],
            ),
            jwks_fetched_at: gauges(
                r,
                "jwks_fetched_timestamp_seconds",
                "When an authorization server's keys were last fetched, Unix time.",
                &["provider"],
            ),
            jwks_keys_skipped: counters(
                r,
                "jwks_keys_skipped_total",
                "Published keys that could not be used.",
                &["provider"],
            ),
            store_operations: counters(
                r,
                "store_operations_total",
                "Operations of the session store.",
                &["operation", "outcome"],
            ),
            store_seconds: histogram(
                r,
                "store_operation_seconds",
                "Operations of the session store.",
                &["operation"],
                STORE_BUCKETS,
            ),
            upstream_answers: counters(
                r,
                "upstream_answers_total",
                "Forwarded calls by the upstream's answer.",
                &["app", "route", "status_class"],
            ),
            upstream_seconds: histogram(
                r,
                "upstream_seconds",
                "Forwarded calls until the upstream's answer began.",
                &["app", "route"],
                ANSWER_BUCKETS,
            ),
            upstream_streams: gauges(
                r,
                "upstream_streams_open",
                "Forwarded event streams and WebSockets now open.",
                &["app"],
            ),
            step_ups: counters(
                r,
                "step_ups_total",
                "Demands that a user authenticate otherwise.",
                &["app", "route", "outcome"],
            ),
            not_after: gauges(
                r,
                "not_after_timestamp_seconds",
                "When a certificate or key ends, Unix time.",
                &["purpose", "name"],
            ),
            http_answers: counters(
                r,
                "http_answers_total",
                "Answers to browsers, by call.",
                &["app", "call", "status_class"],
            ),
            http_seconds: histogram(
                r,
                "http_answer_seconds",
                "Answers to browsers, by call.",
                &["app", "call"],
                ANSWER_BUCKETS,
            ),
            connections: gauges(r, "connections_open", "Inbound connections.", &["listener"]),
            connections_refused: counters(
                r,
                "connections_refused_total",
                "Inbound connections turned away or cut off.",
                &["listener", "reason"],
            ),
            started_at: registered(
                r,
                Gauge::new("process_start_time_seconds", "Start of the process, Unix time."),
            ),
            registry,
        };
        let build: GaugeVec = registered(
            &metrics.registry,
            GaugeVec::new(Opts::new("fapi_bff_build_info", "Always 1."), &["version"]),
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        metrics
    }

    /// Prometheus text format 0.0.4. Reading changes nothing.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be rendered");
            String::new()
        })
    }

    /// Start of the process, Unix time.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit in 52 bits")]
    pub fn set_started_at(&self, unix: i64) {
        self.started_at.set(unix as f64);
    }

    /// A login got as far as `outcome` (`started`, `start_failed`, `completed`, `denied`, `rejected`, `failed`) because of
    /// `reason` (`none`, or a rejection such as `jarm.expired`).
    pub fn login(&self, app: &str, outcome: &'static str, reason: &'static str) {
        self.count(&self.logins, &[Named(app), Fixed(outcome), Fixed(reason)]);
    }

    /// Seconds from the authorization response to the session.
    pub fn login_seconds(&self, app: &str, seconds: f64) {
        self.observe(&self.login_seconds, &[Named(app)], seconds);
    }

    /// A refresh ended as `refreshed`, `joined`, `grant_dead`, `as_trouble`, `unknown`, … after
    /// `seconds`.
    pub fn refresh(&self, app: &str, outcome: &'static str, seconds: f64) {
        self.count(&self.refreshes, &[Named(app), Fixed(outcome)]);
        self.observe(&self.refresh_seconds, &[Named(app)], seconds);
    }

    /// Another instance's refresh was waited for, so many seconds.
    pub fn refresh_lease_waited(&self, seconds: f64) {
        self.observe(&self.refresh_lease_wait, &[], seconds);
    }

    /// A refresh was found broken off.
    pub fn refresh_abandoned(&self, app: &str) {
        self.count(&self.refreshes_abandoned, &[Named(app)]);
    }

    /// A session did not fit its cookies.
    pub fn session_not_carried(&self, app: &str) {
        self.count(&self.sessions_not_carried, &[Named(app)]);
    }

    /// A session cookie names a server key that is not in use here.
    pub fn unknown_server_key(&self, app: &str) {
        self.count(&self.unknown_server_keys, &[Named(app)]);
    }

    /// A server key is in use, as `active` or `further`.
    pub fn server_key(&self, id: KeyId, role: &'static str) {
        self.set(&self.server_keys, &[Named(&id.to_string()), Fixed(role)], 1);
    }

    /// A session began.
    pub fn session_started(&self, app: &str) {
        self.count(&self.sessions_started, &[Named(app)]);
    }

    /// A session was not read again.
    pub fn session_remembered(&self) {
        self.count(&self.sessions_remembered, &[]);
    }

    /// A session ended for `reason`.
    pub fn sessions_ended(&self, app: &str, reason: &'static str, n: u64) {
        self.count_by(&self.sessions_ended, &[Named(app), Fixed(reason)], n);
    }

    /// A login found as many sessions of its user as there may be.
    pub fn session_refused(&self, app: &str) {
        self.count(&self.sessions_refused, &[Named(app)]);
    }

    /// Sessions now in the store.
    pub fn set_sessions_active(&self, n: u64) {
        self.sessions_active.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// A token was `given_up`, and became `revoked`, `refused`, `unsupported`, `failed` or `dropped`.
    pub fn revocation(&self, provider: &str, outcome: &'static str) {
        self.count(&self.revocations, &[Named(provider), Fixed(outcome)]);
    }

    /// A logout token arrived and was `accepted` or `rejected`, or could not be judged or heeded
    /// (`failed`), for `reason`.
    pub fn backchannel_logout(&self, app: &str, outcome: &'static str, reason: &'static str) {
        self.count(&self.backchannel_logouts, &[Named(app), Fixed(outcome), Fixed(reason)]);
    }

    /// A request was stopped by a guard.
    pub fn guard_rejected(&self, app: &str, reason: &'static str) {
        self.count(&self.guard_rejections, &[Named(app), Fixed(reason)]);
    }

    /// A call to an authorization server's `endpoint` (`token`, `par`, …) ended after `seconds`.
    pub fn as_call(
        &self,
        provider: &str,
        endpoint: &'static str,
        outcome: &'static str,
        seconds: f64,
    ) {
        self.count(&self.as_calls, &[Named(provider), Fixed(endpoint), Fixed(outcome)]);
        self.observe(&self.as_call_seconds, &[Named(provider), Fixed(endpoint)], seconds);
    }

    /// An authorization server's keys were fetched because of `cause` (`initial`, `expired`,
    /// `unknown_kid`).
    pub fn jwks_fetch(&self, provider: &str, cause: &'static str, outcome: &'static str) {
        self.count(&self.jwks_fetches, &[Named(provider), Fixed(cause), Fixed(outcome)]);
    }

    /// When the keys now in use were fetched, Unix time.
    pub fn set_jwks_fetched_at(&self, provider: &str, unix: i64) {
        self.set(&self.jwks_fetched_at, &[Named(provider)], unix);
    }

    /// `n` published keys could not be used.
    pub fn jwks_keys_skipped(&self, provider: &str, n: u64) {
        self.count_by(&self.jwks_keys_skipped, &[Named(provider)], n);
    }

    /// The session store did `operation` in `seconds`.
    pub fn store_operation(&self, operation: &'static str, outcome: &'static str, seconds: f64) {
        self.count(&self.store_operations, &[Fixed(operation), Fixed(outcome)]);
        self.observe(&self.store_seconds, &[Fixed(operation)], seconds);
    }

    /// An upstream answered (`2xx`, …) or did not (`unreachable`, `timeout`).
    pub fn upstream(&self, app: &str, route: &str, status_class: &'static str, seconds: f64) {
        self.count(&self.upstream_answers, &[Named(app), Named(route), Fixed(status_class)]);
        self.observe(&self.upstream_seconds, &[Named(app), Named(route)], seconds);
    }

    /// A forwarded event stream or WebSocket opened.
    pub fn upstream_stream_opened(&self, app: &str) {
        self.add(&self.upstream_streams, &[Named(app)], 1);
    }

    /// A forwarded event stream or WebSocket closed.
    pub fn upstream_stream_closed(&self, app: &str) {
        self.add(&self.upstream_streams, &[Named(app)], -1);
    }

    /// A route or its upstream demanded that a user authenticate otherwise; the page was told
    /// (`asked`, `repeated`) or not (`limited`, `exhausted`, `malformed`, `not_allowed`).
    pub fn step_up(&self, app: &str, route: &str, outcome: &'static str) {
        self.count(&self.step_ups, &[Named(app), Named(route), Fixed(outcome)]);
    }

    /// When the certificate or key `name`, used for `purpose` (`client_tls`, `server_tls`, …), ends.
    pub fn set_not_after(&self, purpose: &'static str, name: &str, unix: i64) {
        self.set(&self.not_after, &[Fixed(purpose), Named(name)], unix);
    }

    /// A browser's `call` (`login_start`, `session`, …: what was matched, never a path) was answered.
    pub fn http_answer(
        &self,
        app: &str,
        call: &'static str,
        status_class: &'static str,
        seconds: f64,
    ) {
        self.count(&self.http_answers, &[Named(app), Fixed(call), Fixed(status_class)]);
        self.observe(&self.http_seconds, &[Named(app), Fixed(call)], seconds);
    }

    /// Inbound connections opened (1) or closed (-1).
    pub fn connections(&self, listener: &str, delta: i64) {
        self.add(&self.connections, &[Named(listener)], delta);
    }

    /// An inbound connection was turned away or cut off.
    pub fn connection_refused(&self, listener: &str, reason: &'static str) {
        self.count(&self.connections_refused, &[Named(listener), Fixed(reason)]);
    }

    pub(super) fn watch_audit(&self, audit: &Audit) {
        for counter in audit.counters() {
            if let Err(error) = self.registry.register(Box::new(counter)) {
                tracing::error!(%error, "audit counters are not exported");
            }
        }
    }

    fn count(&self, family: &IntCounterVec, labels: &[Label<'_>]) {
        self.count_by(family, labels, 1);
    }

    fn count_by(&self, family: &IntCounterVec, labels: &[Label<'_>], n: u64) {
        if let Ok(counter) = self.with(labels, |values| family.get_metric_with_label_values(values))
        {
            counter.inc_by(n);
        }
    }

    fn observe(&self, family: &HistogramVec, labels: &[Label<'_>], seconds: f64) {
        if let Ok(histogram) =
            self.with(labels, |values| family.get_metric_with_label_values(values))
        {
            histogram.observe(seconds);
        }
    }

    fn set(&self, family: &IntGaugeVec, labels: &[Label<'_>], to: i64) {
        if let Ok(gauge) = self.with(labels, |values| family.get_metric_with_label_values(values)) {
            gauge.set(to);
        }
    }

    fn add(&self, family: &IntGaugeVec, labels: &[Label<'_>], delta: i64) {
        if let Ok(gauge) = self.with(labels, |values| family.get_metric_with_label_values(values)) {
            gauge.add(delta);
        }
    }

    fn with<T>(&self, labels: &[Label<'_>], metric: impl FnOnce(&[&str]) -> T) -> T {
        let mut values = [""; MOST_LABELS];
        for (value, label) in values.iter_mut().zip(labels) {
            *value = match *label {
                Fixed(text) => text,
                Named(name) => self.names.bounded(name),
            };
        }
        metric(values.get(..labels.len()).unwrap_or_default())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const MOST_LABELS: usize = 3;

#[derive(Clone, Copy)]
enum Label<'a> {
    Fixed(&'static str),
    Named(&'a str),
}
use Label::{Fixed, Named};

/// The names that configuration has brought in. Should anybody pass something a stranger can choose,
/// the series stay bounded all the same: past the limit a name becomes `other`.
#[derive(Default)]
struct Names(RwLock<HashSet<Box<str>>>);

impl Names {
    const MOST: usize = 1024;
    const LONGEST: usize = 128;

    fn bounded<'a>(&self, name: &'a str) -> &'a str {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return name;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < Self::MOST && name.len() <= Self::LONGEST {
            known.insert(name.into());
            name
        } else {
            "other"
        }
    }
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(r, IntCounterVec::new(Opts::new(format!("fapi_bff_{name}"), help), labels))
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(r, IntGaugeVec::new(Opts::new(format!("fapi_bff_{name}"), help), labels))
}

fn histogram(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> HistogramVec {
    let options = HistogramOpts::new(format!("fapi_bff_{name}"), help).buckets(buckets.to_vec());
    registered(r, HistogramVec::new(options, labels))
}

/// A counter outside any registry.
pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    made(IntCounter::new(name, help))
}

fn registered<M>(registry: &Registry, metric: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = made(metric);
    made(registry.register(Box::new(metric.clone())));
    metric
}

#[expect(clippy::expect_used, reason = "names and labels are constants; every test makes them all")]
fn made<T>(result: prometheus::Result<T>) -> T {
    result.expect("metric names and labels are constants")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Metrics {
        let m = Metrics::new();
        m.login("bank", "rejected", "jarm.expired");
        m.login_seconds("bank", 0.2);
        m.refresh("bank", "joined", 0.01);
        m.session_started("bank");
        m.sessions_ended("bank", "session.idle_expired", 1);
        m.session_refused("bank");
        m.session_remembered();
        m.refresh_lease_waited(0.2);
        m.refresh_abandoned("bank");
        m.set_sessions_active(3);
        m.unknown_server_key("bank");
        m.session_not_carried("bank");
        m.server_key(KeyId::new([1, 2, 3, 4]), "active");
        m.backchannel_logout("bank", "accepted", "none");
        m.revocation("as", "given_up");
        m.guard_rejected("bank", "guard.origin_mismatch");
        m.as_call("as", "token", "ok", 0.1);
        m.jwks_fetch("as", "unknown_kid", "ok");
        m.set_jwks_fetched_at("as", 1_700_000_000);
        m.jwks_keys_skipped("as", 2);
        m.store_operation("load", "ok", 0.0001);
        m.upstream("bank", "accounts", "2xx", 0.05);
        m.upstream_stream_opened("bank");
        m.upstream_stream_opened("bank");
        m.upstream_stream_closed("bank");
        m.step_up("bank", "accounts", "asked");
        m.set_not_after("client_tls", "main", 1_800_000_000);
        m.http_answer("bank", "session", "2xx", 0.001);
        m.connections("public", 1);
        m.connection_refused("public", "http.header_timeout");
        m.set_started_at(1_700_000_000);
        m
    }

    /// `(name, labels, value)` of each sample.
    fn samples(text: &str) -> Vec<(String, String, f64)> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.strip_suffix('}').expect("labels end in a brace");
                (name.to_owned(), labels.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn the_text_parses_and_every_family_follows_the_naming_rules() {
        let text = everything().render();
        let mut families = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(
                name.starts_with("fapi_bff_") || name == "process_start_time_seconds",
                "{name}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")));
            families += 1;
        }
        assert_eq!(families, 35);
        assert!(samples(&text).len() > families);
    }

    #[test]
    fn values_arrive_where_they_belong() {
        let text = everything().render();
        for line in [
            "fapi_bff_logins_total{app=\"bank\",outcome=\"rejected\",reason=\"jarm.expired\"} 1",
            "fapi_bff_upstream_streams_open{app=\"bank\"} 1",
            "fapi_bff_jwks_keys_skipped_total{provider=\"as\"} 2",
            "fapi_bff_sessions_active 3",
            "fapi_bff_not_after_timestamp_seconds{name=\"main\",purpose=\"client_tls\"} 1800000000",
            "fapi_bff_login_seconds_bucket{app=\"bank\",le=\"0.25\"} 1",
            "process_start_time_seconds 1700000000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn reading_resets_nothing() {
        let m = everything();
        assert_eq!(m.render(), m.render());
    }

    #[test]
    fn names_from_strangers_cannot_grow_the_series_without_bound() {
        let m = Metrics::new();
        for n in 0..5000 {
            m.session_started(&format!("app-{n}"));
        }
        m.session_started(&"x".repeat(500));
        let series = samples(&m.render());
        let started: Vec<_> =
            series.iter().filter(|s| s.0 == "fapi_bff_sessions_started_total").collect();
        assert_eq!(started.len(), 1025);
        let other = started.iter().find(|s| s.1 == "app=\"other\"").unwrap();
        assert!((other.2 - 3977.0).abs() < 0.5, "{}", other.2);
    }
}
