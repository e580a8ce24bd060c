-- Sessions and what belongs to them. Keys are keyed hashes of 32 bytes, `sealed` opens only with a
-- handle and the server key. Times are whole seconds since 1970; those of leases are the server's own.

CREATE TABLE session (
    key         bytea  PRIMARY KEY,
    app         text   NOT NULL,
    version     bigint NOT NULL,
    created     bigint NOT NULL,
    sealed      bytea  NOT NULL,
    expires     bigint NOT NULL,
    idle        bigint NOT NULL,
    last_seen   bigint NOT NULL,
    indexes     bytea[] NOT NULL,
    -- The second of the earlier limit; numeric in between, for sums may not fit.
    ends        bigint NOT NULL
                GENERATED ALWAYS AS (least(expires::numeric, last_seen::numeric + idle)::bigint) STORED,
    -- The lease: number of the last one granted, who has it, until when.
    fence       bigint NOT NULL DEFAULT 0,
    owner       bytea,
    lease_until timestamptz
);

CREATE INDEX session_ends ON session (ends);

-- An entry cannot point at nothing: it goes with its session, whoever removes that.
CREATE TABLE session_index (
    index bytea NOT NULL,
    key   bytea NOT NULL REFERENCES session (key) ON DELETE CASCADE,
    PRIMARY KEY (index, key)
);

CREATE INDEX session_index_key ON session_index (key);

CREATE TABLE consumed (
    key     bytea  PRIMARY KEY,
    expires bigint NOT NULL
);

CREATE INDEX consumed_expires ON consumed (expires);

CREATE TABLE mark (
    key     bytea  PRIMARY KEY,
    time    bigint NOT NULL,
    expires bigint NOT NULL
);

CREATE INDEX mark_expires ON mark (expires);

-- One row, written to see whether writes succeed.
CREATE TABLE probe (
    id boolean PRIMARY KEY CHECK (id),
    at timestamptz NOT NULL
);
