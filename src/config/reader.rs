//! Owns the walk over the document: typed access that notes every mistake and goes on, and remembers
//! which keys were asked for, so that the rest are unknown. Must not know: which settings exist.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{
    fault::{Fault, Source},
    refused,
    tree::{Node, Table, Value},
};

static EMPTY: Table = Table::new();

/// Collects what is wrong while the document is read.
#[derive(Debug)]
pub(super) struct Report {
    folder: PathBuf,
    faults: RefCell<Vec<Fault>>,
    #[cfg(test)]
    pub(super) asked: RefCell<BTreeSet<String>>,
}

impl Report {
    /// Relative file names are taken from `folder`.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            faults: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub(super) fn add(
        &self,
        path: impl Into<String>,
        source: Source,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (path, message, remedy) = (path.into(), message.into(), remedy.into());
        self.faults.borrow_mut().push(Fault { path, source, message, remedy });
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.faults.borrow().clone()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A setting's path and where its value came from.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) source: Source,
}

impl Place {
    pub(super) fn report(
        &self,
        report: &Report,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        report.add(self.path.clone(), self.source.clone(), message, remedy);
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) place: Place,
    pub(super) report: &'a Report,
    entries: &'a Table,
    asked: BTreeSet<&'static str>,
    /// The table itself was refused: that its keys are missing goes without saying.
    muted: bool,
}

impl<'a> Section<'a> {
    pub(super) fn root(entries: &'a Table, name: &str, report: &'a Report) -> Self {
        let source = Source::File { name: name.to_owned(), line: None };
        Self::new(Place { path: String::new(), source }, entries, report)
    }

    fn new(place: Place, entries: &'a Table, report: &'a Report) -> Self {
        Self { place, report, entries, asked: BTreeSet::new(), muted: false }
    }

    /// The setting, if somebody wrote it.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Setting<'a>> {
        self.asked.insert(key);
        let node = self.entries.get(key)?;
        let path = self.path_of(key);
        Some(Setting {
            value: &node.value,
            place: Place { path, source: node.source.clone() },
            report: self.report,
        })
    }

    /// A setting without which nothing works.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        parse: impl FnOnce(&Setting<'a>) -> Option<T>,
    ) -> Option<T> {
        let setting = self.get(key);
        if setting.is_none() {
            self.missing(key, remedy);
        }
        parse(&setting?)
    }

    /// A setting with a default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Setting<'a>) -> Option<T>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// A setting that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Setting<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|setting| parse(&setting))
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.or(key, default, Setting::boolean)
    }

    /// A table below this one; an absent one is read like an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let absent = Place { path: self.path_of(key), source: self.place.source.clone() };
        let Some(setting) = self.get(key) else {
            return Self { muted: self.muted, ..Self::new(absent, &EMPTY, self.report) };
        };
        setting
            .table()
            .unwrap_or_else(|| Self { muted: true, ..Self::new(absent, &EMPTY, self.report) })
    }

    /// A table of tables under names the operator chose; at least one.
    pub(super) fn named(&mut self, key: &'static str, remedy: &str) -> Vec<(String, Section<'a>)> {
        let all = self.section(key);
        if all.entries.is_empty() && !all.muted {
            self.missing(key, remedy);
        }
        let mut sections = Vec::new();
        for (name, node) in all.entries {
            let place =
                Place { path: format!("{}.{name}", all.place.path), source: node.source.clone() };
            let setting = Setting { value: &node.value, place, report: self.report };
            if is_name(name) {
                sections.extend(setting.table().map(|section| (name.clone(), section)));
            } else {
                let remedy = "use up to 32 lower-case letters and digits, single hyphens between them, a letter first";
                setting.wrong::<()>("is not usable as a name", remedy);
            }
        }
        sections
    }

    /// Where a setting stands; for an absent one, that it has its default.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let source = self.entries.get(key).map_or(Source::Default, |node| node.source.clone());
        Place { path: self.path_of(key), source }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Notes that a setting is missing.
    pub(super) fn missing(&self, key: &str, remedy: &str) {
        if !self.muted {
            self.report.add(self.path_of(key), self.place.source.clone(), "is missing", remedy);
        }
    }

    /// Notes every key nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in self.entries {
            if !self.asked.contains(key.as_str()) {
                let (message, remedy) = refused::explain(key, &self.asked);
                self.report.add(self.path_of(key), node.source.clone(), message, remedy);
            }
        }
        #[cfg(test)]
        self.report.asked.borrow_mut().extend(self.asked.iter().map(|key| self.path_of(key)));
    }

    fn path_of(&self, key: &str) -> String {
        if self.place.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place.path)
        }
    }
}

/// A value somebody wrote.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    value: &'a Value,
    pub(super) place: Place,
    pub(super) report: &'a Report,
}

impl<'a> Setting<'a> {
    /// Notes what is wrong with it; always `None`, so that parsers can return it.
    pub(super) fn wrong<T>(
        &self,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        if !matches!(self.value, Value::Refused) {
            self.place.report(self.report, message, remedy);
        }
        None
    }

    /// Non-empty text without control characters.
    pub(super) fn text(&self) -> Option<String> {
        let text = match self.value {
            Value::Raw(raw) => unquoted(raw),
            Value::String(text) => text.clone(),
            _ => {
                return self
                    .wrong(format!("is {}, not a string", self.kind()), "write it in quotes");
            }
        };
        if text.trim().is_empty() {
            return self.wrong("is empty", "give it a value or remove the line");
        }
        if text.chars().any(char::is_control) {
            return self.wrong("contains a control character", "write it on one line");
        }
        Some(text)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Boolean(value) => Some(*value),
            Value::Raw(raw) if raw.trim() == "true" => Some(true),
            Value::Raw(raw) if raw.trim() == "false" => Some(false),
            _ => self.wrong(
                format!("is {}, not true or false", self.kind()),
                "write true or false, without quotes",
            ),
        }
    }

    /// The integer, if it is one; says nothing otherwise, for there may be other ways to write it.
    pub(super) fn as_integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(value) => Some(*value),
            Value::Raw(raw) => raw.trim().parse().ok(),
            _ => None,
        }
    }

    /// The elements of an array.
    pub(super) fn items(&self) -> Option<Vec<Setting<'a>>> {
        let Value::Array(items) = self.value else {
            return self.wrong(
                format!("is {}, not a list", self.kind()),
                "write it in brackets: [\"…\", \"…\"]",
            );
        };
        let item = |(index, node): (usize, &'a Node)| Setting {
            value: &node.value,
            place: Place {
                path: format!("{}[{index}]", self.place.path),
                source: node.source.clone(),
            },
            report: self.report,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The value as JSON, for what is handed on as it is.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match self.value {
            Value::Array(_) => {
                let items = self.items()?;
                items.iter().map(Setting::json).collect()
            }
            Value::Boolean(value) => Some((*value).into()),
            Value::Integer(value) => Some((*value).into()),
            Value::Raw(raw) => Some(unquoted(raw).into()),
            Value::String(text) => Some(text.as_str().into()),
            Value::Table(entries) => {
                let member = |(name, node): (&String, &'a Node)| {
                    let path = format!("{}.{name}", self.place.path);
                    let place = Place { path, source: node.source.clone() };
                    let setting = Setting { value: &node.value, place, report: self.report };
                    Some((name.clone(), setting.json()?))
                };
                let members = entries.iter().map(member).collect::<Option<_>>();
                members.map(serde_json::Value::Object)
            }
            Value::Other | Value::Refused => {
                self.wrong(format!("is {}", self.kind()), "write it in quotes")
            }
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    pub(super) fn table(&self) -> Option<Section<'a>> {
        let Value::Table(entries) = self.value else {
            let remedy = format!("write it as a table, [{}]", self.place.path);
            return self.wrong(format!("is {}, not a table", self.kind()), remedy);
        };
        Some(Section::new(self.place.clone(), entries, self.report))
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Value::Array(_) => "a list",
            Value::Boolean(_) => "true or false",
            Value::Integer(_) => "a number",
            Value::Other => "a date or an unusable number",
            Value::Raw(_) => "text",
            Value::Refused => "refused",
            Value::String(_) => "a string",
            Value::Table(_) => "a table",
        }
    }
}

/// An environment variable's text, of which a TOML string's quotes are no part.
fn unquoted(raw: &str) -> String {
    match toml::de::DeValue::parse(raw.trim()).map(toml::Spanned::into_inner) {
        Ok(toml::de::DeValue::String(text)) => text.into_owned(),
        _ => raw.to_owned(),
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

/// Text for a message: shortened, in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("`");
    for c in text.chars().take(80) {
        let _ = write!(quoted, "{}", c.escape_debug());
    }
    quoted.push_str(if text.chars().nth(80).is_some() { "…`" } else { "`" });
    quoted
}
