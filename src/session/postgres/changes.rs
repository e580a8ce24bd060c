//! Owns the news from other instances: NOTIFY with every change, LISTEN on a connection of its own.
//! Must not know: what anybody does with them; whatever is missed while it reconnects stays missed.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use super::{
    connect::{Connector, Purpose, Tied},
    fault::{PostgresFault, described},
    spoken::Spoken,
};
use crate::session::store::{Change, StoreKey};

/// Changes that a slow receiver may be behind.
const BACKLOG: usize = 1024;
/// Pauses between attempts to listen.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Kinds of changes as they are written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Replaced,
    Removed,
    Marked,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Replaced, "replaced"), (Self::Removed, "removed"), (Self::Marked, "marked")];
}

/// What this instance says and hears.
#[derive(Debug)]
pub(super) struct News {
    /// Name of the channel.
    pub(super) channel: String,
    /// Who we are: our own changes are no news.
    instance: String,
    heard: broadcast::Sender<Change>,
}

impl News {
    pub(super) fn new(schema: &str) -> Self {
        Self {
            channel: format!("{schema}_changes"),
            instance: Uuid::new_v4().simple().to_string(),
            heard: broadcast::Sender::new(BACKLOG),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.heard.subscribe()
    }

    /// What a change's notification begins with; the key follows.
    pub(super) fn prefix(&self, kind: Kind) -> String {
        let name = match kind {
            Kind::Replaced => "replaced",
            Kind::Removed => "removed",
            Kind::Marked => "marked",
        };
        format!("{} {name} ", self.instance)
    }

    fn tell(&self, payload: &str) {
        if let Some(change) = self.read(payload) {
            // Nobody listening is no fault.
            let _ = self.heard.send(change);
        }
    }

    /// The change that another instance told of.
    fn read(&self, payload: &str) -> Option<Change> {
        let mut words = payload.splitn(3, ' ');
        let (instance, name, key) = (words.next()?, words.next()?, words.next()?);
        if instance == self.instance {
            return None;
        }
        let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == name)?;
        let key = from_hex(key)?;
        Some(match kind {
            Kind::Replaced => Change::Replaced(key),
            Kind::Removed => Change::Removed(key),
            Kind::Marked => Change::Marked(key),
        })
    }
}

fn from_hex(text: &str) -> Option<StoreKey> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(StoreKey::new(bytes))
}

/// Listens for ever, over one connection after the other.
pub(super) fn listen(connector: Arc<Connector>, news: Arc<News>) -> Tied {
    Tied::spawn(async move {
        let (mut pauses, spoken) = (PAUSES.into_iter(), Spoken::default());
        loop {
            match hear(&connector, &news).await {
                // It was up for a while: begin with a short pause again.
                Ok(()) => pauses = PAUSES.into_iter(),
                Err(fault) => spoken.warn("changes of other instances are not heard", &fault),
            }
            let [.., longest] = PAUSES;
            tokio::time::sleep(pauses.next().unwrap_or(longest)).await;
        }
    })
}

/// Listens until the connection ends.
async fn hear(connector: &Connector, news: &Arc<News>) -> Result<(), PostgresFault> {
    let (client, mut messages) = connector.connect(Purpose::Listen).await?;
    let told = Arc::clone(news);
    let (ended, end) = tokio::sync::oneshot::channel();
    let _reader = Tied::spawn(async move {
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => told.tell(notification.payload()),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = described(&error), "listening ended");
                    break;
                }
            }
        }
        let _ = ended.send(());
    });
    // The name has been checked to need no escape.
    client.batch_execute(&format!("LISTEN \"{}\"", news.channel)).await?;
    let _ = end.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_said_well_is_news() {
        let (ours, theirs) = (News::new("s"), News::new("s"));
        let key = "ab".repeat(32);
        let said = |news: &News, kind| format!("{}{key}", news.prefix(kind));
        let expected = StoreKey::new([0xab; 32]);
        assert_eq!(ours.read(&said(&theirs, Kind::Removed)), Some(Change::Removed(expected)));
        assert_eq!(ours.read(&said(&theirs, Kind::Replaced)), Some(Change::Replaced(expected)));
        assert_eq!(ours.read(&said(&theirs, Kind::Marked)), Some(Change::Marked(expected)));
        assert_eq!(ours.read(&said(&ours, Kind::Removed)), None);
        for bad in ["", "x", "x removed", "x removed ab", "x opened 00", "x removed é"] {
            assert_eq!(ours.read(bad), None, "{bad}");
        }
        assert_eq!(ours.read(&format!("x removed {}", "+1".repeat(32))), None);
        assert_eq!(ours.read(&format!("x burnt {key}")), None);
    }
}
