//! The requirements matrix: every clause the product answers for, where it comes from, and what proves
//! it. Loads the files of `conformance/requirements`; must not know how modules or tests are run.

mod citation;
mod coverage;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use coverage::coverage;
pub use sources::{TESTS_FILE, citations, refresh};

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../requirements/", $name)))),*]
    };
}

/// The sections, in order.
const SECTIONS: [(&str, &str); 12] = embedded![
    "a-fapi2.toml",
    "b-fapi1-jarm.toml",
    "c-tls.toml",
    "d-par-jar-client-auth.toml",
    "e-pkce-iss-dpop.toml",
    "f-oauth-metadata.toml",
    "g-oauth-extensions.toml",
    "h-oidc.toml",
    "i-logout.toml",
    "j-bff-proxy.toml",
    "k-browser-sessions.toml",
    "l-jwt-jwk-clocks.toml",
];
const DECISIONS: [(&str, &str); 1] = embedded!["decisions.toml"];
const PROFILES: [(&str, &str); 1] = embedded!["profiles.toml"];
const TESTS: [(&str, &str); 1] = embedded!["tests.toml"];

/// What the product does not have yet, so that a clause without proof can be told from one without a
/// feature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Correcting one's clock by the authorization server's.
    ClockCorrection,
    /// A limit to how many calls of one session are under way.
    ConcurrencyLimits,
    /// Sessions kept in cookies.
    CookieSessions,
    /// Keeping signed messages as evidence.
    EvidenceStore,
    /// New keys and certificates without a restart.
    KeyRotation,
    /// A login that ends with its `request_uri`, by `expires_in`.
    RequestUriLifetime,
    /// Listing and ending sessions by user and administrator.
    SessionAdministration,
    /// Keys and certificates that no two authorization servers share, enforced.
    SeparateKeys,
    /// Several instances on one store.
    SeveralInstances,
    /// `WebSocket` connections.
    Websocket,
}

impl Feature {
    /// Its name in the matrix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClockCorrection => "clock-correction",
            Self::ConcurrencyLimits => "concurrency-limits",
            Self::CookieSessions => "cookie-sessions",
            Self::EvidenceStore => "evidence-store",
            Self::KeyRotation => "key-rotation",
            Self::RequestUriLifetime => "request-uri-lifetime",
            Self::SessionAdministration => "session-administration",
            Self::SeparateKeys => "separate-keys",
            Self::SeveralInstances => "several-instances",
            Self::Websocket => "websocket",
        }
    }
}

/// One clause.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Its id, such as `FAPI2-SP-5.3.3.2-5`.
    pub id: String,
    /// Other ids that mean it, such as the single ones of a combined row.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The specification and its section.
    pub source: String,
    /// What it demands.
    pub requirement: String,
    /// `MUST`, `SHOULD`, … as the source says, and what the project makes of it.
    pub level: String,
    /// What must work.
    pub positive: Option<String>,
    /// What must be refused.
    pub negative: Option<String>,
    /// How else to look at it.
    pub check: Option<String>,
    /// Whether the section number was not compared with the source's text.
    #[serde(default)]
    pub unchecked: bool,
    /// The feature it belongs to, if the product does not have that yet.
    pub feature: Option<Feature>,
    /// Why no test here proves it, or only half of it.
    pub remark: Option<String>,
}

/// One section.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Its letter.
    #[serde(rename = "section")]
    pub letter: String,
    /// What it is about.
    pub title: String,
    /// Its clauses, in order.
    #[serde(rename = "clause")]
    pub clauses: Vec<Clause>,
}

/// A point on which profiles contradict each other.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What it is about.
    pub topic: String,
    /// Who says what.
    pub conflict: String,
    /// What is done.
    pub rule: String,
}

/// One thing that profiles switch; absent where it does not apply.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What is switched.
    pub name: String,
    /// In plain OpenID Connect.
    pub plain_oidc: Option<String>,
    /// In FAPI 1.0 Advanced.
    pub fapi1_advanced: Option<String>,
    /// In the FAPI 2.0 Security Profile.
    pub fapi2_security: Option<String>,
    /// In FAPI 2.0 Message Signing.
    pub fapi2_message_signing: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decisions {
    #[serde(rename = "decision")]
    decisions: Vec<Decision>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    #[serde(rename = "switch")]
    switches: Vec<Switch>,
}

/// Why the matrix cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// A file is not what it should be.
    #[error("conformance/requirements/{file}: {source}")]
    Unreadable {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A section has no clauses.
    #[error("section {0} is empty")]
    Empty(String),
    /// An id or alias means two clauses.
    #[error("{0} is there twice")]
    Twice(String),
}

/// The matrix.
#[derive(Clone, Debug)]
pub struct Matrix {
    sections: Vec<Section>,
    decisions: Vec<Decision>,
    switches: Vec<Switch>,
    tests: BTreeMap<String, Vec<String>>,
    /// Id or alias to section and place in it.
    index: HashMap<String, (usize, usize)>,
    /// First words of ids.
    families: BTreeSet<String>,
}

impl Matrix {
    /// The matrix this harness was built with.
    pub fn load() -> Result<Self, MatrixError> {
        let sections = SECTIONS.into_iter().map(parse).collect::<Result<_, _>>()?;
        let [decisions] = DECISIONS.map(parse::<Decisions>);
        let [profiles] = PROFILES.map(parse::<Profiles>);
        let [tests] = TESTS.map(parse);
        Self::of(sections, decisions?.decisions, profiles?.switches, tests?)
    }

    fn of(
        sections: Vec<Section>,
        decisions: Vec<Decision>,
        switches: Vec<Switch>,
        tests: BTreeMap<String, Vec<String>>,
    ) -> Result<Self, MatrixError> {
        let mut index = HashMap::new();
        for (at, section) in sections.iter().enumerate() {
            if section.clauses.is_empty() {
                return Err(MatrixError::Empty(section.letter.clone()));
            }
            for (place, clause) in section.clauses.iter().enumerate() {
                for id in [&clause.id].into_iter().chain(&clause.aliases) {
                    if index.insert(id.clone(), (at, place)).is_some() {
                        return Err(MatrixError::Twice(id.clone()));
                    }
                }
            }
        }
        let families = index.keys().filter_map(|id| id.split('-').next()).map(str::to_owned);
        let families = families.collect();
        Ok(Self { sections, decisions, switches, tests, index, families })
    }

    /// Sections in order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Clauses in order, each with its section.
    pub fn clauses(&self) -> impl Iterator<Item = (&Section, &Clause)> {
        self.sections
            .iter()
            .flat_map(|section| section.clauses.iter().map(move |clause| (section, clause)))
    }

    /// Where profiles contradict each other, and what is done about it.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// What each profile switches.
    pub fn switches(&self) -> &[Switch] {
        &self.switches
    }

    /// The clause of this id or alias.
    pub fn resolve(&self, id: &str) -> Option<&Clause> {
        let (section, place) = self.index.get(id)?;
        self.sections.get(*section)?.clauses.get(*place)
    }

    /// The project's tests that cite the clause of this id or alias, `file::test`, as they were when
    /// [`refresh`] last ran.
    pub fn tests(&self, id: &str) -> &[String] {
        let tests = self.resolve(id).and_then(|clause| self.tests.get(&clause.id));
        tests.map_or(&[], Vec::as_slice)
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    (file, text): (&'static str, &'static str),
) -> Result<T, MatrixError> {
    toml::from_str(text)
        .map_err(|source| MatrixError::Unreadable { file, source: Box::new(source) })
}
