//! Plans: which there are, their variants, and the modules of each variant. A plan lists every module
//! it has; those whose feature the product lacks are named as such and never dropped. It must not know
//! how modules are played.

use std::collections::BTreeMap;

use super::{exam::Ending, module::Module};

/// A plan's parameters by name.
pub type Variant = BTreeMap<String, String>;

/// One parameter of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name in the official suite.
    pub name: &'static str,
    /// The values the plan can be run with, the usual one first.
    pub values: &'static [&'static str],
    /// Fixed by the plan: not to be passed when the plan is created.
    pub pinned: bool,
}

impl Parameter {
    /// One that is chosen.
    pub const fn free(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values, pinned: false }
    }

    /// One that the plan fixes.
    pub const fn pinned(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values, pinned: true }
    }
}

/// One module in a plan.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It can be played.
    Ready(Box<Module>),
    /// The product lacks what it tests.
    NotYetSupported {
        /// Its id.
        id: String,
        /// What the authorization server does.
        does: String,
        /// What the client must do.
        must: String,
        /// The clauses it would prove.
        clauses: Vec<&'static str>,
        /// What the product lacks.
        lacks: String,
    },
}

impl Entry {
    /// The module's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Ready(module) => &module.id,
            Self::NotYetSupported { id, .. } => id,
        }
    }

    /// Whether it can be played.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// The same module as one the product lacks the feature for.
    #[must_use]
    pub fn lacking(self, what: &str) -> Self {
        match self {
            Self::Ready(module) => Self::NotYetSupported {
                id: module.id,
                does: module.does,
                must: module.must,
                clauses: module.clauses,
                lacks: what.to_owned(),
            },
            missing @ Self::NotYetSupported { .. } => missing,
        }
    }
}

/// One plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its id: the official suite's where it has such a plan.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Whether a combination of parameters makes sense.
    pub possible: fn(&Variant) -> bool,
    /// What the product lacks for this variant; nothing if it can be run.
    pub lacks: fn(&Variant) -> Vec<&'static str>,
    /// Whether a run plays a variant that nobody asked for by its parameters.
    pub by_default: fn(&Variant) -> bool,
    /// The certification profile, if the official plan grants one.
    pub certification: fn(&Variant) -> Option<String>,
    /// The modules of a variant.
    pub modules: fn(&Variant) -> Vec<Entry>,
}

impl Plan {
    /// Every possible variant, the usual values first.
    pub fn variants(&self) -> Vec<Variant> {
        let mut all = vec![Variant::new()];
        for parameter in &self.parameters {
            all = all
                .into_iter()
                .flat_map(|variant| {
                    parameter.values.iter().map(move |value| {
                        let mut variant = variant.clone();
                        variant.insert(parameter.name.to_owned(), (*value).to_owned());
                        variant
                    })
                })
                .collect();
        }
        all.retain(|variant| (self.possible)(variant));
        all
    }

    /// The modules of a variant, all as not yet supported if the product lacks something for it.
    pub fn entries(&self, variant: &Variant) -> Vec<Entry> {
        let entries = (self.modules)(variant);
        let lacks = (self.lacks)(variant);
        if lacks.is_empty() {
            return entries;
        }
        let lacks = lacks.join(", ");
        entries.into_iter().map(|entry| entry.lacking(&lacks)).collect()
    }

    /// Whether the product has what this variant needs.
    pub fn is_supported(&self, variant: &Variant) -> bool {
        (self.lacks)(variant).is_empty()
    }
}

/// One parameter of a variant; empty if the plan has no such parameter.
pub fn value<'a>(variant: &'a Variant, name: &str) -> &'a str {
    variant.get(name).map_or("", String::as_str)
}

/// Whether a client that does everything right is silent at the end of this module.
pub const fn is_negative(module: &Module) -> bool {
    matches!(module.ending, Ending::Silence { .. })
}
