//! The suite's REST API: the few calls a run needs, and in words what its answers mean for the operator.
//! It must not know in which order they are made.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderValue, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use crate::demo::browser::read_body;

/// How much of the suite's own words is passed on.
const MESSAGE_CHARS: usize = 300;

/// Why a call to the suite failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiFault {
    /// No connection, or no answer.
    #[error(
        "{call}: no answer: {why}; is the suite running there, does its name resolve (--resolve), and \
         does a given --ca vouch for its certificate?"
    )]
    Unreachable {
        /// The call.
        call: &'static str,
        /// Why, without addresses' queries.
        why: String,
    },
    /// The suite wants a login.
    #[error(
        "{call}: the suite refuses without a valid API token ({status}): make one in its menu under \
         `Create API token` and name its file with --token-file, or run the suite in dev mode"
    )]
    Unauthorized {
        /// The call.
        call: &'static str,
        /// Status.
        status: u16,
    },
    /// The plan was not created.
    #[error(
        "the suite does not create {plan} ({status}): {message}; compare plan, variant and configuration \
         with GET api/plan/info/{plan}: a variant that the plan pins must not be passed"
    )]
    PlanRefused {
        /// The plan.
        plan: String,
        /// Status.
        status: u16,
        /// The suite's words.
        message: String,
    },
    /// Something the suite does not have (any more).
    #[error(
        "{call}: the suite has no such thing (404): was it restarted meanwhile, and is --suite its own \
         address?"
    )]
    NotFound {
        /// The call.
        call: &'static str,
    },
    /// Any other refusal.
    #[error("{call}: answered with {status}: {message}; the suite's own log says more")]
    Status {
        /// The call.
        call: &'static str,
        /// Status.
        status: u16,
        /// The suite's words.
        message: String,
    },
    /// Not what the API answers.
    #[error("{call}: the answer is not the suite's: {why}; is --suite the suite's own address?")]
    Malformed {
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The token cannot be a header.
    #[error(
        "the API token has characters that no header can have: take the token itself, in one line"
    )]
    Token,
}

impl ApiFault {
    /// Whether every further call would fail alike.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unauthorized { .. })
    }
}

/// A plan the suite created.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Its modules in order.
    pub modules: Vec<PlannedModule>,
}

/// A module of a plan.
#[derive(Clone, Debug, Deserialize)]
pub struct PlannedModule {
    /// The module's id.
    #[serde(rename = "testModule")]
    pub id: String,
    /// The part of the variant that is the module's own, to be repeated when it is started.
    #[serde(default)]
    pub variant: Option<BTreeMap<String, String>>,
}

/// A module under way.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Runner {
    /// What the client's operator is told: issuer, endpoints.
    #[serde(default)]
    pub exposed: BTreeMap<String, Value>,
}

impl Runner {
    /// An exposed value as text.
    pub fn exposed(&self, name: &str) -> Option<&str> {
        self.exposed.get(name).and_then(Value::as_str)
    }
}

/// What is stored of a module.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Info {
    /// Where it stands.
    pub status: String,
    /// How it ended, in the suite's word.
    #[serde(default)]
    pub result: Option<String>,
    /// The suite's words on what it tests.
    #[serde(default)]
    pub summary: Option<String>,
    /// The suite's release.
    #[serde(default)]
    pub version: Option<String>,
}

/// An entry of a module's log, of which only the harmless members are read.
#[derive(Clone, Debug, Deserialize)]
pub struct LogEntry {
    /// The condition, or another source.
    #[serde(default)]
    pub src: String,
    /// `SUCCESS`, `FAILURE`, `WARNING`, `INFO`, `REVIEW`, …; absent on what only happened.
    #[serde(default)]
    pub result: Option<String>,
    /// For people.
    #[serde(default)]
    pub msg: Option<String>,
    /// Clauses.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub time: u64,
}

#[derive(Deserialize)]
struct Started {
    id: String,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    state: Option<String>,
}

/// The suite.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
}

impl Api {
    /// The suite at `base`, for the owner of `token`; none is needed in dev mode.
    pub fn new(http: reqwest::Client, base: &Url, token: Option<&str>) -> Result<Self, ApiFault> {
        let token = token
            .map(|token| {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| ApiFault::Token)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        let mut base = base.clone();
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Ok(Self { http, base, token })
    }

    /// Where a person reads a module's log.
    pub fn page_of(&self, test_id: &str) -> String {
        self.url(&["log-detail.html"], &[("log", test_id)]).into()
    }

    /// Creates a plan.
    pub async fn create_plan(
        &self,
        plan: &str,
        variant: &BTreeMap<String, String>,
        config: &Value,
    ) -> Result<Plan, ApiFault> {
        const CALL: &str = "POST api/plan";
        let variant = json_text(variant);
        let url = self.url(&["api", "plan"], &[("planName", plan), ("variant", &variant)]);
        let request = self.http.post(url).body(config.to_string());
        match self.send(CALL, request).await {
            Err(ApiFault::Status { status, message, .. }) if status < 500 => {
                Err(ApiFault::PlanRefused { plan: plan.to_owned(), status, message })
            }
            answer => read(CALL, answer?).await,
        }
    }

    /// Starts a module of a plan; answers the run's id.
    pub async fn start(&self, plan: &str, module: &PlannedModule) -> Result<String, ApiFault> {
        const CALL: &str = "POST api/runner";
        let mut query = vec![("test", module.id.as_str()), ("plan", plan)];
        let variant = module.variant.as_ref().filter(|variant| !variant.is_empty());
        let variant = variant.map(json_text);
        if let Some(variant) = &variant {
            query.push(("variant", variant));
        }
        let answer = self.send(CALL, self.http.post(self.url(&["api", "runner"], &query))).await?;
        Ok(read::<Started>(CALL, answer).await?.id)
    }

    /// Waits at most `limit` until the module is in one of `states`; answers which, or none.
    pub async fn wait(
        &self,
        test_id: &str,
        states: &[&str],
        limit: Duration,
    ) -> Result<Option<String>, ApiFault> {
        const CALL: &str = "GET api/runner/…/wait-state";
        let millis = limit.as_millis().to_string();
        let query = [("states", states.join(",")), ("timeoutMs", millis)];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
        let url = self.url(&["api", "runner", test_id, "wait-state"], &query);
        let state: State = read(CALL, self.send(CALL, self.http.get(url)).await?).await?;
        Ok(state.state.filter(|state| states.contains(&state.as_str())))
    }

    /// A module under way.
    pub async fn runner(&self, test_id: &str) -> Result<Runner, ApiFault> {
        self.get("GET api/runner/…", &["api", "runner", test_id]).await
    }

    /// What is stored of a module.
    pub async fn info(&self, test_id: &str) -> Result<Info, ApiFault> {
        self.get("GET api/info/…", &["api", "info", test_id]).await
    }

    /// A module's log.
    pub async fn log(&self, test_id: &str) -> Result<Vec<LogEntry>, ApiFault> {
        self.get("GET api/log/…", &["api", "log", test_id]).await
    }

    /// Stops a module.
    pub async fn stop(&self, test_id: &str) -> Result<(), ApiFault> {
        let url = self.url(&["api", "runner", test_id], &[]);
        self.send("DELETE api/runner/…", self.http.delete(url)).await.map(drop)
    }

    /// The plan with every log, signed by the suite, as a ZIP file.
    pub async fn export(&self, plan: &str) -> Result<Vec<u8>, ApiFault> {
        const CALL: &str = "GET api/plan/export/…";
        let url = self.url(&["api", "plan", "export", plan], &[]);
        let answer = self.send(CALL, self.http.get(url)).await?;
        let bytes = read_body(answer, EXPORT_LIMIT).await;
        let bytes = bytes.map_err(|why| ApiFault::Unreachable { call: CALL, why })?;
        Ok(bytes.to_vec())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &[&str],
    ) -> Result<T, ApiFault> {
        read(call, self.send(call, self.http.get(self.url(path, &[]))).await?).await
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(
        &self,
        call: &'static str,
        mut request: RequestBuilder,
    ) -> Result<Response, ApiFault> {
        // The suite wants the media type even where there is no body.
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        let answer = request.send().await.map_err(|error| unreachable(call, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let code = status.as_u16();
        match status {
            // The login page is a redirect.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(ApiFault::Unauthorized { call, status: code })
            }
            _ if status.is_redirection() => Err(ApiFault::Unauthorized { call, status: code }),
            StatusCode::NOT_FOUND => Err(ApiFault::NotFound { call }),
            _ => Err(ApiFault::Status { call, status: code, message: message(answer).await }),
        }
    }
}

/// Most bytes of an answer, and of an export, which has every log of a plan.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
const EXPORT_LIMIT: usize = 512 * 1024 * 1024;

/// Pairs of texts always have a JSON form.
fn json_text(pairs: &BTreeMap<String, String>) -> String {
    Value::from_iter(pairs.clone()).to_string()
}

fn unreachable(call: &'static str, error: reqwest::Error) -> ApiFault {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    ApiFault::Unreachable { call, why }
}

async fn read<T: DeserializeOwned>(call: &'static str, answer: Response) -> Result<T, ApiFault> {
    let bytes = read_body(answer, ANSWER_LIMIT).await;
    let bytes = bytes.map_err(|why| ApiFault::Unreachable { call, why })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiFault::Malformed { call, why: error.to_string() })
}

/// What the suite says of an error, without anything it might have been told.
async fn message(answer: Response) -> String {
    let text = read_body(answer, ANSWER_LIMIT).await.unwrap_or_default();
    let json: Value = serde_json::from_slice(&text).unwrap_or_default();
    let said = ["message", "error_description", "error"]
        .iter()
        .find_map(|name| json.get(*name).and_then(Value::as_str));
    said.unwrap_or("without a reason").chars().take(MESSAGE_CHARS).collect()
}
