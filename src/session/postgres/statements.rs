//! Owns the SQL: one statement for each operation of a store, prepared when a connection is made.
//! Must not know: how statements are sent, nor what comes of their answers.
//!
//! A conditional write locks its row first and judges what it then finds. Under `READ COMMITTED` that is
//! the newest committed version, whatever the statement's snapshot says, and nobody changes it in between.

use tokio_postgres::{Client, Error, Statement};

// Seconds by which a record may be past its absolute limit before it is treated as gone: room for
// clocks that differ, so that whoever opens such a session learns that it expired.
macro_rules! alive {
    () => {
        "expires > extract(epoch FROM clock_timestamp())::bigint - 300"
    };
}

/// Records; nothing happens to one that is there. The indexes are read from the new row.
const CREATE: &str = "
WITH made AS (
    INSERT INTO session (key, app, version, created, sealed, expires, idle, last_seen, indexes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (key) DO NOTHING
    RETURNING key, indexes
), indexed AS (
    INSERT INTO session_index (index, key)
    SELECT DISTINCT entry, made.key FROM made, unnest(made.indexes) AS entry
)
SELECT key FROM made";

const LOAD: &str = concat!(
    "SELECT app, version, created, sealed, expires, idle, last_seen, indexes
FROM session WHERE key = $1 AND ",
    alive!()
);

/// No row: gone. A row of nulls: held.
const LEASE: &str = concat!(
    "
WITH held AS MATERIALIZED (
    SELECT owner IS NOT NULL AND owner <> $2 AS by_another, lease_until
    FROM session WHERE key = $1 AND ",
    alive!(),
    " FOR UPDATE
), granted AS (
    UPDATE session s
    SET fence = greatest(s.fence + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
        owner = $2,
        lease_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
    FROM held
    WHERE s.key = $1 AND (NOT held.by_another OR held.lease_until <= clock_timestamp())
    RETURNING s.app, s.version, s.created, s.sealed, s.expires, s.idle, s.last_seen, s.indexes,
              s.fence, held.by_another AS abandoned
)
SELECT granted.* FROM held LEFT JOIN granted ON true"
);

const RELEASE: &str =
    "UPDATE session SET owner = NULL, lease_until = NULL WHERE key = $1 AND fence = $2";

/// No row: gone. The new version is null unless version and fence were those expected.
const REPLACE: &str = "
WITH held AS MATERIALIZED (
    SELECT version, fence FROM session WHERE key = $1 FOR UPDATE
), done AS (
    UPDATE session s
    SET version = s.version + 1, sealed = $4, expires = $5, owner = NULL, lease_until = NULL
    FROM held
    WHERE s.key = $1 AND held.version = $2 AND held.fence = $3 AND held.fence > 0
    RETURNING s.version, s.key
)
SELECT held.version = $2 AS expected, done.version,
       CASE WHEN done.key IS NOT NULL THEN pg_notify($6, $7 || encode(done.key, 'hex'))::text END
FROM held LEFT JOIN done ON true";

/// That alone may be lost in a crash: its commit waits for no disk and no standby.
const TOUCH: &str = "
UPDATE session SET last_seen = $2
WHERE key = $1 AND last_seen < $2 AND set_config('synchronous_commit', 'off', true) IS NOT NULL";

/// No row: absent. A row of nulls: the condition does not hold.
const REMOVE: &str = "
WITH held AS MATERIALIZED (
    SELECT version, fence, last_seen FROM session WHERE key = $1 FOR UPDATE
), gone AS (
    DELETE FROM session s USING held
    WHERE s.key = $1
      AND ($2::bigint IS NULL OR held.version = $2 AND held.fence = $3::bigint)
      AND ($4::bigint IS NULL OR held.last_seen <= $4)
    RETURNING s.app, s.version, s.created, s.sealed, s.expires, s.idle, s.last_seen, s.indexes, s.key
)
SELECT gone.*,
       CASE WHEN gone.key IS NOT NULL THEN pg_notify($5, $6 || encode(gone.key, 'hex'))::text END
FROM held LEFT JOIN gone ON true";

const CONSUME: &str = "
INSERT INTO consumed (key, expires) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING key";

const FIND: &str = "
SELECT i.key FROM session_index i JOIN session s ON s.key = i.key WHERE i.index = $1";

const PAGE: &str = "
SELECT key, app, created, expires, idle, last_seen
FROM session WHERE key > $1 ORDER BY key LIMIT $2";

const MARK: &str = "
WITH made AS (
    INSERT INTO mark AS m (key, time, expires) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE
    SET time = greatest(m.time, excluded.time), expires = greatest(m.expires, excluded.expires)
    RETURNING key
)
SELECT pg_notify($4, $5 || encode(key, 'hex'))::text FROM made";

const MARKS: &str = "SELECT key, time FROM mark WHERE key = ANY ($1)";

/// A batch; what another instance is sweeping is left to it, so that each end is told once.
const SWEEP: &str = "
WITH due AS MATERIALIZED (
    SELECT key FROM session WHERE ends <= $1 ORDER BY ends LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM session s USING due WHERE s.key = due.key
    RETURNING s.key, s.app, s.expires, s.idle, s.last_seen
)
SELECT app, expires, idle, last_seen, pg_notify($3, $4 || encode(key, 'hex'))::text FROM gone";

const SWEEP_CONSUMED: &str = "
WITH due AS MATERIALIZED (
    SELECT key FROM consumed WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM consumed c USING due WHERE c.key = due.key RETURNING true";

const SWEEP_MARKS: &str = "
WITH due AS MATERIALIZED (
    SELECT key FROM mark WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM mark m USING due WHERE m.key = due.key RETURNING true";

const COUNT: &str = "SELECT count(*) FROM session";

const PING: &str = "
INSERT INTO probe (id, at) VALUES (true, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET at = excluded.at";

/// All of them, as one connection knows them.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) create: Statement,
    pub(super) load: Statement,
    pub(super) lease: Statement,
    pub(super) release: Statement,
    pub(super) replace: Statement,
    pub(super) touch: Statement,
    pub(super) remove: Statement,
    pub(super) consume: Statement,
    pub(super) find: Statement,
    pub(super) page: Statement,
    pub(super) mark: Statement,
    pub(super) marks: Statement,
    pub(super) sweep: Statement,
    pub(super) sweep_consumed: Statement,
    pub(super) sweep_marks: Statement,
    pub(super) count: Statement,
    pub(super) ping: Statement,
}

impl Statements {
    /// All in one round trip.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let (core, sets, sweeps) = tokio::try_join!(
            async {
                tokio::try_join!(
                    client.prepare(CREATE),
                    client.prepare(LOAD),
                    client.prepare(LEASE),
                    client.prepare(RELEASE),
                    client.prepare(REPLACE),
                    client.prepare(TOUCH),
                    client.prepare(REMOVE),
                )
            },
            async {
                tokio::try_join!(
                    client.prepare(CONSUME),
                    client.prepare(FIND),
                    client.prepare(PAGE),
                    client.prepare(MARK),
                    client.prepare(MARKS),
                )
            },
            async {
                tokio::try_join!(
                    client.prepare(SWEEP),
                    client.prepare(SWEEP_CONSUMED),
                    client.prepare(SWEEP_MARKS),
                    client.prepare(COUNT),
                    client.prepare(PING),
                )
            },
        )?;
        let (create, load, lease, release, replace, touch, remove) = core;
        let (consume, find, page, mark, marks) = sets;
        let (sweep, sweep_consumed, sweep_marks, count, ping) = sweeps;
        Ok(Self {
            create,
            load,
            lease,
            release,
            replace,
            touch,
            remove,
            consume,
            find,
            page,
            mark,
            marks,
            sweep,
            sweep_consumed,
            sweep_marks,
            count,
            ping,
        })
    }
}
