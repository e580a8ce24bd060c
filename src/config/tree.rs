//! Owns the document before anybody knows what it means: TOML with the environment laid over it, every
//! value knowing where it came from. Must not know: which settings exist.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Source},
    reader::Report,
};

/// Start of every environment variable that is an override.
const PREFIX: &str = "FAPI_BFF__";

/// Tables whose keys are names chosen by the operator.
const NAMED: [&str; 3] = ["apps", "clients", "providers"];

/// A value and where it came from.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// A TOML value, or the text of an environment variable, typed only when read.
#[derive(Debug)]
pub(super) enum Value {
    Array(Vec<Node>),
    Boolean(bool),
    Integer(i64),
    /// A float, a date or an integer beyond 64 bits: no setting is one.
    Other,
    Raw(String),
    /// Already reported; readers pass over it in silence.
    Refused,
    String(String),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Node>;

/// Parses the file; its syntax errors, all of them, end the matter.
pub(super) fn parse(text: &str, name: &str) -> Result<Table, Vec<Fault>> {
    let source = |span: Option<Range<usize>>| Source::File {
        name: name.to_owned(),
        line: span.map(|span| 1 + text.bytes().take(span.start).filter(|&b| b == b'\n').count()),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table(document.into_inner(), &source));
    }
    let fault = |error: &toml::de::Error| Fault {
        path: String::new(),
        source: source(error.span()),
        // Not `Display`, which would print the line and with it whatever stands there.
        message: format!("not TOML: {}", error.message()),
        remedy: "correct the syntax; other mistakes are looked for once the file can be read"
            .to_owned(),
    };
    Err(errors.iter().map(fault).collect())
}

fn table(entries: DeTable<'_>, source: &impl Fn(Option<Range<usize>>) -> Source) -> Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.into_inner().into_owned(), node(value, source)))
        .collect()
}

fn node(value: Spanned<DeValue<'_>>, source: &impl Fn(Option<Range<usize>>) -> Source) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(item, source)).collect())
        }
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Integer(value) => {
            i64::from_str_radix(value.as_str(), value.radix()).map_or(Value::Other, Value::Integer)
        }
        DeValue::String(value) => Value::String(value.into_owned()),
        DeValue::Table(entries) => Value::Table(table(entries, source)),
        DeValue::Datetime(_) | DeValue::Float(_) => Value::Other,
    };
    Node { value, source: source(Some(span)) }
}

/// Lays `FAPI_BFF__…` variables over the document; shorter paths first, so that a variable naming a
/// whole table can be refined by another.
pub(super) fn overlay(
    root: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
    report: &Report,
) {
    let mut overrides = BTreeMap::new();
    for (variable, text) in environment {
        let upper = variable.to_ascii_uppercase();
        let Some(path) = upper.strip_prefix(PREFIX) else {
            // Kubernetes injects FAPI_BFF_SERVICE_HOST and the like, so one underscore alone is not ours.
            if upper.starts_with("FAPI_BFF_") && upper.contains("__") {
                let remedy = format!("begin the name with {PREFIX}, or unset the variable");
                report.add(
                    "",
                    environment_source(variable),
                    "looks like an override but is none",
                    remedy,
                );
            }
            continue;
        };
        let segments: Vec<String> = segments(path);
        if segments.iter().any(String::is_empty) {
            let remedy = "write FAPI_BFF__SECTION__KEY, as in FAPI_BFF__CLIENTS__WEB__CLIENT_ID";
            report.add("", environment_source(variable), "names no setting", remedy);
        } else if let Some((other, _)) =
            overrides.insert((segments.len(), segments), (variable.clone(), text))
        {
            let message = format!("names the same setting as {other}");
            report.add("", environment_source(variable), message, "unset one of them");
        }
    }
    for ((_, segments), (variable, text)) in overrides {
        if let Err((message, remedy)) = place(root, &segments, &variable, text) {
            report.add(segments.join("."), environment_source(variable), message, remedy);
        }
    }
}

fn environment_source(variable: String) -> Source {
    Source::Environment { variable }
}

/// Keys contain `_` and no `-`, operators' names `-` and no `_`; variables can only contain `_`.
fn segments(path: &str) -> Vec<String> {
    let mut segments: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, name, ..] = segments.as_mut_slice()
        && NAMED.contains(&section.as_str())
    {
        *name = name.replace('_', "-");
    }
    segments
}

fn place(
    table: &mut Table,
    segments: &[String],
    variable: &str,
    text: String,
) -> Result<(), (String, String)> {
    let [key, rest @ ..] = segments else { return Ok(()) };
    let fresh = || {
        let first_is_index = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
        let value =
            if first_is_index { Value::Array(Vec::new()) } else { Value::Table(Table::new()) };
        Node { value, source: environment_source(variable.to_owned()) }
    };
    if rest.is_empty() {
        table.insert(key.clone(), typed(text, variable));
        return Ok(());
    }
    let child = table.entry(key.clone()).or_insert_with(fresh);
    match &mut child.value {
        Value::Array(items) => place_in_array(items, key, rest, variable, text),
        Value::Table(entries) => place(entries, rest, variable, text),
        _ => Err((
            format!("`{key}` is a single value and has no parts"),
            format!("end the name after {key}"),
        )),
    }
}

fn place_in_array(
    items: &mut Vec<Node>,
    key: &str,
    segments: &[String],
    variable: &str,
    text: String,
) -> Result<(), (String, String)> {
    let [index, rest @ ..] = segments else { return Ok(()) };
    let remedy = || format!("after {key} write a number from 0 to {}", items.len());
    let Some(index) = index.parse::<usize>().ok().filter(|&index| index <= items.len()) else {
        return Err((format!("`{index}` is no element of `{key}`"), remedy()));
    };
    if index == items.len() {
        let source = environment_source(variable.to_owned());
        items.push(Node { value: Value::Table(Table::new()), source });
    }
    let Some(item) = items.get_mut(index) else { return Ok(()) };
    match &mut item.value {
        _ if rest.is_empty() => *item = typed(text, variable),
        Value::Table(entries) => return place(entries, rest, variable, text),
        _ => {
            return Err((
                format!("`{key}[{index}]` is a single value and has no parts"),
                "shorten the name".to_owned(),
            ));
        }
    }
    Ok(())
}

/// Arrays and tables are told by their bracket; all else waits for the reader, who knows what he expects.
fn typed(text: String, variable: &str) -> Node {
    let source = environment_source(variable.to_owned());
    if text.trim_start().starts_with(['[', '{'])
        && let Ok(value) = DeValue::parse(text.trim())
    {
        return node(value, &|_| source.clone());
    }
    Node { value: Value::Raw(text), source }
}

/// Refuses private keys written where a file's name belongs, whatever the setting, and hides them from
/// everything that might print a value.
pub(super) fn refuse_inline_keys(table: &mut Table, path: &str, report: &Report) {
    for (key, node) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        refuse_in_node(node, &path, report);
    }
}

fn refuse_in_node(node: &mut Node, path: &str, report: &Report) {
    match &mut node.value {
        Value::Raw(text) | Value::String(text) if is_private_key(text) => {
            let remedy =
                "put the key into a file only the server can read and write the file's name here";
            report.add(path, node.source.clone(), "contains a private key", remedy);
            node.value = Value::Refused;
        }
        Value::Table(entries) if entries.contains_key("kty") && entries.contains_key("d") => {
            let remedy =
                "put the JWK into a file only the server can read and write the file's name here";
            report.add(path, node.source.clone(), "contains a private key", remedy);
            node.value = Value::Refused;
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                refuse_in_node(item, &format!("{path}[{index}]"), report);
            }
        }
        Value::Table(entries) => refuse_inline_keys(entries, path, report),
        _ => {}
    }
}

fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY") || (text.contains("\"kty\"") && text.contains("\"d\""))
}
