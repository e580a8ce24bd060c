//! Owns hearing what other instances do: one connection, made anew whenever it is lost.
//! Must not know who listens, nor be depended on: what is missed stays missed.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    sync::broadcast::{Receiver, Sender},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Shared, reply, trouble::Trouble};
use crate::session::store::{Change, StoreKey};

/// Changes that a slow receiver may leave waiting.
const BACKLOG: usize = 1024;
/// How long silence is believed to be silence.
const SILENCE: Duration = Duration::from_secs(10);
/// The pauses between attempts to connect grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Names an instance of the store, so that it need not be told what it did itself.
pub(super) type Instance = [u8; 8];

/// What is published: who did it, what, and to which key.
pub(super) fn message(instance: Instance, change: Change) -> Vec<u8> {
    let (what, key) = match change {
        Change::Replaced(key) => (b'W', key),
        Change::Removed(key) => (b'R', key),
        Change::Marked(key) => (b'M', key),
    };
    [&instance[..], &[what], key.as_bytes()].concat()
}

/// The beginning of a message on a removed record.
pub(super) fn removal(instance: Instance) -> Vec<u8> {
    [&instance[..], b"R"].concat()
}

/// What a message says, unless this instance sent it or it is none.
fn heard(message: &[u8], instance: Instance) -> Option<Change> {
    let (sender, rest) = message.split_first_chunk::<8>()?;
    let (what, key) = rest.split_first()?;
    let key: StoreKey = reply::key(key).ok()?;
    if *sender == instance {
        return None;
    }
    match what {
        b'W' => Some(Change::Replaced(key)),
        b'R' => Some(Change::Removed(key)),
        b'M' => Some(Change::Marked(key)),
        _ => None,
    }
}

/// Hears as long as it lives.
pub(super) struct Watch {
    changes: Sender<Change>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to listen; in a runtime only.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (changes, _) = tokio::sync::broadcast::channel(BACKLOG);
        let task = tokio::spawn(listen(Arc::clone(shared), changes.clone()));
        Self { changes, task }
    }

    pub(super) fn receiver(&self) -> Receiver<Change> {
        self.changes.subscribe()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(shared: Arc<Shared>, changes: Sender<Change>) {
    let mut pause = PAUSES.0;
    loop {
        let mut subscribed = false;
        let trouble = listen_once(&shared, &changes, &mut subscribed).await;
        tracing::debug!(
            reason = trouble.as_ref().err().map(|trouble| trouble.reason),
            "session store: not told of changes until connected again"
        );
        pause = if subscribed { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        sleep(pause).await;
    }
}

async fn listen_once(
    shared: &Shared,
    changes: &Sender<Change>,
    subscribed: &mut bool,
) -> Result<(), Trouble> {
    let lost = |error: redis::RedisError| Trouble::lost(&error);
    let late = |_| Trouble::not_sent("the server did not answer in time", &"");
    let (mut sink, mut messages) = shared.servers.listen().await?.split();
    let subscription = sink.subscribe(shared.names.channel());
    timeout(shared.limit, subscription).await.map_err(late)?.map_err(lost)?;
    *subscribed = true;
    loop {
        match timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => {
                if let Some(change) = heard(message.get_payload_bytes(), shared.instance) {
                    // Nobody may be listening just now.
                    let _ = changes.send(change);
                }
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                let ping = sink.ping::<redis::Value>();
                timeout(shared.limit, ping).await.map_err(late)?.map_err(lost)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_messages_of_others_are_heard() {
        let key = StoreKey::new([7; 32]);
        for change in [Change::Replaced(key), Change::Removed(key), Change::Marked(key)] {
            let sent = message([1; 8], change);
            assert_eq!(heard(&sent, [2; 8]), Some(change));
            assert_eq!(heard(&sent, [1; 8]), None, "its own");
            for end in 0..sent.len() {
                assert_eq!(heard(&sent[..end], [2; 8]), None);
            }
            assert_eq!(heard(&[&sent[..], b"x"].concat(), [2; 8]), None);
        }
        let mut unknown = message([1; 8], Change::Marked(key));
        unknown[8] = b'?';
        assert_eq!(heard(&unknown, [2; 8]), None);
        assert_eq!(
            [&removal([1; 8])[..], &[7; 32]].concat(),
            message([1; 8], Change::Removed(key))
        );
    }
}
