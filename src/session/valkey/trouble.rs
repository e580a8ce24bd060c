//! Owns what can go wrong with the server, and what operators are told to do about it.
//! Must not know what was asked of it.

use redis::{ErrorKind, RedisError, ServerError};

use super::dial::Address;

/// No answer, or one that is none.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// Said to operators; names no key.
    pub(super) reason: &'static str,
    /// What the library or the server said, where it can name no key.
    pub(super) detail: String,
}

/// What is known about the operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It did not reach a server.
    NotSent,
    /// It may have happened.
    Unknown,
    /// The server refused it.
    Refused,
    /// The server has to be told the script again.
    NoScript,
    /// The keys live elsewhere for good.
    Moved(Address),
    /// The keys are moving there.
    Ask(Address),
}

impl Trouble {
    pub(super) const fn new(kind: Kind, reason: &'static str) -> Self {
        Self { kind, reason, detail: String::new() }
    }

    pub(super) fn not_sent(reason: &'static str, detail: &impl ToString) -> Self {
        Self { kind: Kind::NotSent, reason, detail: detail.to_string() }
    }

    /// A reply of a shape that no version of this program asked for.
    pub(super) const fn not_understood() -> Self {
        Self::new(Kind::Unknown, "the server's answer is not understood")
    }

    /// What a server at `asked` answered instead of a result.
    pub(super) fn answered(error: &ServerError, asked: &Address) -> Self {
        let code = error.code();
        let kind = match code {
            "NOSCRIPT" => Kind::NoScript,
            "MOVED" | "ASK" => {
                let target = error.details().and_then(|detail| elsewhere(detail, asked));
                match (code, target) {
                    ("MOVED", Some(target)) => Kind::Moved(target),
                    ("ASK", Some(target)) => Kind::Ask(target),
                    _ => Kind::Refused,
                }
            }
            _ => Kind::Refused,
        };
        Self { kind, reason: advice(code), detail: code.to_owned() }
    }

    /// What befell a request that was on its way.
    pub(super) fn lost(error: &RedisError) -> Self {
        let reason = match error.kind() {
            ErrorKind::Parse => "the server's answer is not understood",
            _ => "the connection to the server was lost",
        };
        Self { kind: Kind::Unknown, reason, detail: error.category().to_owned() }
    }

    /// What befell a connection that was being set up.
    pub(super) fn greeting(error: &RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        let reason = match error.kind() {
            ErrorKind::AuthenticationFailed => advice("WRONGPASS"),
            ErrorKind::Server(_) | ErrorKind::Extension => advice(code),
            _ => "the server does not answer as Valkey or Redis would",
        };
        Self::not_sent(reason, &error.category())
    }

    /// The connection is of no more use: another server, or the same one asked anew, may answer.
    pub(super) fn spoils_connection(&self) -> bool {
        // A primary without its replicas is perhaps none any more.
        let another = [
            "READONLY",
            "MASTERDOWN",
            "LOADING",
            "CLUSTERDOWN",
            "NOAUTH",
            "UNKILLABLE",
            "NOREPLICAS",
        ];
        match self.kind {
            Kind::Refused => another.contains(&self.detail.as_str()),
            Kind::Unknown => true,
            _ => false,
        }
    }
}

/// `3999 10.0.0.7:6379`: a slot and an address. Without a host, the one that was asked.
fn elsewhere(detail: &str, asked: &Address) -> Option<Address> {
    let (host, port) = detail.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { &asked.host } else { host };
    // `?` stands for a name that the server's administrator has yet to set.
    (host != "?").then(|| Some(Address::new(host, port.parse().ok()?)))?
}

fn advice(code: &str) -> &'static str {
    match code {
        "NOAUTH" | "WRONGPASS" => {
            "the server wants other credentials: see store.valkey.username and store.valkey.password_file"
        }
        "NOPERM" => "the user lacks a right that the store needs: see the README on Valkey",
        "LOADING" => "the server is still loading its data",
        "READONLY" => {
            "the server is a replica: name the primary, or configure store.valkey.sentinel"
        }
        "MASTERDOWN" => "the server has lost its primary",
        "MOVED" | "ASK" | "CROSSSLOT" => {
            "the server is part of a cluster: set store.valkey.cluster = true"
        }
        "CLUSTERDOWN" => "the cluster is down: not all slots are served",
        "TRYAGAIN" => "the cluster is moving these keys",
        "OOM" => "the server is out of memory",
        "MISCONF" => "the server cannot save to its disk, and therefore takes no writes",
        "NOREPLICAS" => "the server has fewer replicas than its min-replicas-to-write",
        "BUSY" => "the server is busy with a script",
        "WRONGTYPE" => "a key is not what this store wrote: is store.valkey.key_prefix shared?",
        "NOPROTO" => "the server does not speak RESP2",
        _ => "the server refuses",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_name_an_address() {
        let asked = Address::new("10.0.0.1", 6379);
        let target = |detail: &str| elsewhere(detail, &asked);
        assert_eq!(target("3999 10.0.0.7:6381"), Some(Address::new("10.0.0.7", 6381)));
        assert_eq!(target("3999 :6381"), Some(Address::new("10.0.0.1", 6381)));
        assert_eq!(target("3999 fd00::7:6381"), Some(Address::new("fd00::7", 6381)));
        assert_eq!(target("3999 v-1.example:6381"), Some(Address::new("v-1.example", 6381)));
        for useless in ["", "3999", "3999 10.0.0.7", "3999 ?:6381", "3999 10.0.0.7:port"] {
            assert_eq!(target(useless), None, "{useless}");
        }
    }
}
