//! What this plan would test if the product had the feature: named here, so that nothing is counted as
//! passed that was never played. It must not know any script.

use crate::suite::plan::Entry;

/// Id, what is done, what the client must do, the clauses, and what the product lacks.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);

const ROWS: [Row; 2] = [
    (
        "websocket-upgrade-cross-origin",
        "A page of another origin opens a WebSocket with the browser's cookies.",
        "refuse the upgrade",
        &["PXY-6"],
        "WebSocket forwarding (every upgrade is refused, which is tested)",
    ),
    (
        "websocket-after-logout",
        "A WebSocket is open when its session ends.",
        "close it",
        &["PXY-6", "SES-7.4"],
        "WebSocket forwarding (every upgrade is refused, which is tested)",
    ),
];

/// Every one of them.
pub(super) fn entries() -> Vec<Entry> {
    let entry = |(id, does, must, clauses, lacks): Row| Entry::NotYetSupported {
        id: id.to_owned(),
        does: does.to_owned(),
        must: must.to_owned(),
        clauses: clauses.to_vec(),
        lacks: lacks.to_owned(),
    };
    ROWS.map(entry).to_vec()
}
