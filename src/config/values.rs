//! Owns the kinds of values settings have: durations, sizes, choices, addresses, paths, URLs.
//! Must not know: which setting has which kind.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::{Setting, quoted};
use crate::net::{Network, network_of};

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) const fn minutes(count: u64) -> Duration {
    seconds(count * 60)
}

pub(super) const fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

/// Whole seconds, or a number with `s`, `m`, `h` or `d`.
pub(super) fn duration(
    setting: &Setting<'_>,
    allowed: RangeInclusive<Duration>,
) -> Option<Duration> {
    let value = match setting.as_integer() {
        Some(count) => u64::try_from(count).ok().map(Duration::from_secs),
        None => parse_duration(&setting.text()?),
    };
    let (low, high) = (in_words(*allowed.start()), in_words(*allowed.end()));
    let remedy =
        format!("write a duration from {low} to {high}, such as \"{low}\", or a number of seconds");
    let Some(value) = value else {
        return setting.wrong("is not a duration", remedy);
    };
    if !allowed.contains(&value) {
        return setting.wrong(format!("{} is not within {low} to {high}", in_words(value)), remedy);
    }
    Some(value)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

pub(super) fn in_words(value: Duration) -> String {
    match value.as_secs() {
        0 => "0s".to_owned(),
        secs if secs % 86_400 == 0 => format!("{}d", secs / 86_400),
        secs if secs % 3600 == 0 => format!("{}h", secs / 3600),
        secs if secs % 60 == 0 => format!("{}m", secs / 60),
        secs => format!("{secs}s"),
    }
}

/// A duration in the unit of JWT claims.
pub(super) fn claim_seconds(setting: &Setting<'_>, allowed: RangeInclusive<u32>) -> Option<i64> {
    let allowed = seconds((*allowed.start()).into())..=seconds((*allowed.end()).into());
    duration(setting, allowed).and_then(|value| i64::try_from(value.as_secs()).ok())
}

pub(super) fn integer<T>(setting: &Setting<'_>, allowed: RangeInclusive<T>) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let remedy = format!("write a number from {} to {}", allowed.start(), allowed.end());
    let Some(value) = setting.as_integer() else {
        return setting.wrong("is not a whole number", remedy);
    };
    match T::try_from(value) {
        Ok(value) if allowed.contains(&value) => Some(value),
        _ => setting.wrong(
            format!("{value} is not within {} to {}", allowed.start(), allowed.end()),
            remedy,
        ),
    }
}

/// Bytes, or a number with `KiB`, `MiB` or `GiB`.
pub(super) fn size(setting: &Setting<'_>, largest: u64) -> Option<u64> {
    let value = match setting.as_integer() {
        Some(count) => u64::try_from(count).ok(),
        None => parse_size(&setting.text()?),
    };
    let remedy = format!("write a number of bytes up to {largest}, or a size such as \"10MiB\"");
    match value {
        None => setting.wrong("is not a size", remedy),
        Some(value) if value > largest => {
            setting.wrong(format!("{value} bytes are more than {largest}"), remedy)
        }
        value => value,
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let shift = match unit.trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// One of a few words.
pub(super) fn choice<T: Copy>(setting: &Setting<'_>, choices: &[(&str, T)]) -> Option<T> {
    let text = setting.text()?;
    let found = choices.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        return setting.wrong(
            format!("{} is not one of the choices", quoted(&text)),
            format!("write {}", words.join(" or ")),
        );
    }
    found.map(|(_, value)| *value)
}

/// A list of distinct values, each of which is judged.
pub(super) fn list<'a, T: PartialEq>(
    setting: &Setting<'a>,
    parse: impl Fn(&Setting<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = setting.items()?;
    let count = items.len();
    let mut values: Vec<T> = Vec::new();
    let mut sound = 0;
    for item in &items {
        if let Some(value) = parse(item) {
            if values.contains(&value) {
                item.wrong::<()>("is listed twice", "remove one");
            } else {
                values.push(value);
                sound += 1;
            }
        }
    }
    (sound == count).then_some(values)
}

/// A [`list`] with at least one element.
pub(super) fn filled_list<'a, T: PartialEq>(
    setting: &Setting<'a>,
    parse: impl Fn(&Setting<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let values = list(setting, parse)?;
    if values.is_empty() {
        return setting
            .wrong("is empty", "list at least one value, or remove the line to get the default");
    }
    Some(values)
}

/// Something of the standard library's or a crate's own notation.
pub(super) fn parsed<T: FromStr>(setting: &Setting<'_>, what: &str, remedy: &str) -> Option<T> {
    let text = setting.text()?;
    text.parse().ok().or_else(|| setting.wrong(format!("{} is not {what}", quoted(&text)), remedy))
}

pub(super) fn socket_address(setting: &Setting<'_>) -> Option<SocketAddr> {
    parsed(
        setting,
        "an address and port",
        "write an IP address and a port, such as \"127.0.0.1:8443\" or \"[::]:8443\"",
    )
}

/// A network, or one address.
pub(super) fn network_range(setting: &Setting<'_>) -> Option<IpNet> {
    let text = setting.text()?;
    let range = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match range {
        None => setting.wrong(
            format!("{} is not a network", quoted(&text)),
            "write it as \"10.1.0.0/16\" or \"10.1.2.3\"",
        ),
        Some(range) if range.prefix_len() == 0 => setting.wrong(
            "believes every peer's forwarded-for headers",
            "list the addresses of your proxies only",
        ),
        range => range,
    }
}

pub(super) fn networks(setting: &Setting<'_>) -> Option<Vec<Network>> {
    let choices = [Network::Public, Network::Private, Network::Loopback]
        .map(|network| (network.as_str(), network));
    filled_list(setting, |item| choice(item, &choices))
}

/// Printable ASCII without space, `"` and `\`: RFC 6749's scope-token, also fit for acr values.
pub(super) fn token(setting: &Setting<'_>) -> Option<String> {
    let text = setting.text()?;
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        return Some(text);
    }
    setting.wrong(
        format!("{} contains a character that is not allowed (RFC 6749 §3.3)", quoted(&text)),
        "write one value per list element, printable ASCII without spaces, quotes and backslashes",
    )
}

/// A path prefix in the one form that requests are brought into before they are compared.
pub(super) fn path_prefix(setting: &Setting<'_>) -> Option<String> {
    let text = setting.text()?;
    let complaint = if !text.starts_with('/') {
        "does not begin with /"
    } else if text == "/" {
        return Some(text);
    } else if text.ends_with('/') {
        "ends with /"
    } else if text.split('/').skip(1).any(|segment| segment.bytes().all(|b| b == b'.')) {
        "contains an empty, `.` or `..` segment"
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b)) {
        "contains something else than letters, digits and -._~"
    } else {
        return Some(text);
    };
    setting.wrong(
        format!("{} {complaint}", quoted(&text)),
        "write a normalised path such as \"/api/accounts\": leading slash, no trailing slash, plain segments",
    )
}

/// A place within the app's own origin that the browser may be sent to.
pub(super) fn local_reference(setting: &Setting<'_>) -> Option<String> {
    let text = setting.text()?;
    let inside = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
    if inside && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(text);
    }
    setting.wrong(
        format!("{} is not a path within the app's origin", quoted(&text)),
        "write a path that begins with a single slash, such as \"/accounts\"",
    )
}

/// A URL written plainly: printable ASCII, a host, no user name, no query, no fragment.
pub(super) fn plain_url(setting: &Setting<'_>, remedy: &str) -> Option<(String, Url)> {
    let text = setting.text()?;
    let url = Url::parse(&text).ok().filter(|_| text.bytes().all(|b| b.is_ascii_graphic()));
    let Some(url) = url.filter(Url::has_host) else {
        return setting.wrong(format!("{} is not a URL with a host", quoted(&text)), remedy);
    };
    if !url.username().is_empty() || url.password().is_some() {
        return setting.wrong("contains a user name or password", remedy);
    }
    if text.contains(['?', '#']) {
        return setting.wrong(format!("{} has a query or a fragment", quoted(&text)), remedy);
    }
    Some((text, url))
}

/// Whether a URL's host, where it is an address or `localhost`, lies in an allowed network (META-PRJ);
/// what names resolve to is checked at each connection.
pub(super) fn host_allowed(setting: &Setting<'_>, url: &Url, allowed: &[Network]) -> Option<()> {
    let network = match url.host() {
        Some(Host::Ipv4(address)) => network_of(address.into()),
        Some(Host::Ipv6(address)) => network_of(address.into()),
        Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => {
            Some(Network::Loopback)
        }
        _ => return Some(()),
    };
    match network {
        None => setting.wrong(
            "is a link-local or reserved address, which is never connected to",
            "use another address",
        ),
        Some(network) if !allowed.contains(&network) => {
            let name = network.as_str();
            setting.wrong(
                format!("lies in the {name} network, which is not allowed here"),
                format!("add \"{name}\" to `networks` beside it"),
            )
        }
        Some(_) => Some(()),
    }
}
