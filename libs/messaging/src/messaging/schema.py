"""The tables and their triggers, for the migrations of a service. A version, once released, never changes."""

from typing import Protocol

# A statement says once that it added something: the notification leaves with the commit, and costs no poll.
_V1 = (
    """
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_outbox PRIMARY KEY,
        event_id uuid NOT NULL,
        topic text NOT NULL,
        subject text NOT NULL,
        type text NOT NULL,
        body bytea NOT NULL,
        traceparent text,
        kept boolean NOT NULL,
        said_at timestamptz NOT NULL DEFAULT now(),
        sent_at timestamptz,
        sent_partition integer,
        sent_offset bigint
    ) WITH (autovacuum_vacuum_scale_factor = 0.05)
    """,
    "CREATE INDEX ix_outbox_unsent ON outbox (id) WHERE sent_at IS NULL",
    "CREATE INDEX ix_outbox_sent ON outbox (kept, sent_at) WHERE sent_at IS NOT NULL",
    """
    CREATE TABLE jobs (
        subject text NOT NULL,
        version integer NOT NULL,
        kind text NOT NULL,
        part integer NOT NULL,
        owner text NOT NULL,
        state text NOT NULL DEFAULT 'waiting',
        attempt integer NOT NULL DEFAULT 0,
        tries integer NOT NULL DEFAULT 0,
        crashes integer NOT NULL DEFAULT 0,
        available_at timestamptz NOT NULL DEFAULT now(),
        lease_until timestamptz,
        taken_at timestamptz,
        finished_at timestamptz,
        payload jsonb,
        traceparent text,
        failure text,
        added_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_jobs PRIMARY KEY (subject, version, kind, part),
        CONSTRAINT ck_jobs_state CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled'))
    ) WITH (autovacuum_vacuum_scale_factor = 0.05)
    """,
    "CREATE INDEX ix_jobs_waiting ON jobs (kind, owner, available_at, part) WHERE state = 'waiting'",
    "CREATE INDEX ix_jobs_turns ON jobs (kind, owner, taken_at) WHERE taken_at IS NOT NULL",
    "CREATE INDEX ix_jobs_leases ON jobs (lease_until) WHERE state = 'running'",
    "CREATE INDEX ix_jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    """
    CREATE TABLE fences (
        subject text CONSTRAINT pk_fences PRIMARY KEY,
        version integer NOT NULL DEFAULT 0,
        live integer NOT NULL DEFAULT 0,
        failed integer[] NOT NULL DEFAULT '{}',
        deleted_at timestamptz,
        outcome_type text,
        outcome_version integer,
        outcome_round integer,
        outcome jsonb
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE dead_letters (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_dead_letters PRIMARY KEY,
        origin text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        log_offset bigint NOT NULL,
        digest text NOT NULL,
        key bytea,
        value bytea,
        size_bytes integer NOT NULL,
        reason text NOT NULL,
        detail text NOT NULL,
        traceparent text,
        state text NOT NULL DEFAULT 'dead',
        replays integer NOT NULL DEFAULT 0,
        added_at timestamptz NOT NULL DEFAULT now(),
        replayed_at timestamptz,
        CONSTRAINT uq_dead_letters_origin_topic_partition_log_offset_digest
            UNIQUE (origin, topic, partition, log_offset, digest),
        CONSTRAINT ck_dead_letters_state CHECK (state IN ('dead', 'replaying', 'replayed'))
    )
    """,
    "CREATE INDEX ix_dead_letters_replays ON dead_letters (id) WHERE state = 'replaying'",
    "CREATE INDEX ix_dead_letters_added_at ON dead_letters (added_at)",
    """
    CREATE TABLE chores (
        name text CONSTRAINT pk_chores PRIMARY KEY,
        due_at timestamptz NOT NULL DEFAULT now(),
        claimed_until timestamptz
    )
    """,
    """
    CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('outbox', '');
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER notify_outbox AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox()",
    """
    CREATE FUNCTION notify_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('jobs', kind) FROM (SELECT DISTINCT kind FROM added) AS kinds;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER notify_jobs AFTER INSERT ON jobs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION notify_jobs()
    """,
    # Whoever works for a subject when it is deleted stops at once, in whichever process.
    """
    CREATE FUNCTION notify_fences() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('fences', NEW.subject);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER notify_fences AFTER UPDATE OF deleted_at, failed ON fences FOR EACH ROW
    WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at OR OLD.failed IS DISTINCT FROM NEW.failed)
    EXECUTE FUNCTION notify_fences()
    """,
)

# A notification says what was said: not all of it is urgent.
_V2 = (
    "DROP TRIGGER notify_outbox ON outbox",
    """
    CREATE OR REPLACE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('outbox', type) FROM (SELECT DISTINCT type FROM added) AS types;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER notify_outbox AFTER INSERT ON outbox REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox()
    """,
)

# Light jobs have places of their own. A release that knows nothing of them takes each as any other.
_V3 = (
    "ALTER TABLE jobs ADD COLUMN light boolean NOT NULL DEFAULT false",
    "CREATE INDEX ix_jobs_light ON jobs (kind, owner, available_at, part) WHERE state = 'waiting' AND light",
)

_DROP_V3 = ("ALTER TABLE jobs DROP COLUMN light",)

_DROP_V2 = (
    "DROP TRIGGER notify_outbox ON outbox",
    """
    CREATE OR REPLACE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('outbox', '');
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER notify_outbox AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox()",
)

_DROP_V1 = (
    "DROP TABLE chores, dead_letters, fences, jobs, outbox",
    "DROP FUNCTION notify_outbox(), notify_jobs(), notify_fences()",
)


class Operations(Protocol):
    """What is used of `alembic.op`."""

    def execute(self, sqltext: str, /) -> None: ...


def create_v1(op: Operations) -> None:
    """Create the tables of a service's first migration."""
    for statement in _V1:
        op.execute(statement)


def drop_v1(op: Operations) -> None:
    for statement in _DROP_V1:
        op.execute(statement)


def create_v2(op: Operations) -> None:
    """Have the outbox's notifications name the facts; releases that know only the first version take them, too."""
    for statement in _V2:
        op.execute(statement)


def drop_v2(op: Operations) -> None:
    for statement in _DROP_V2:
        op.execute(statement)


def create_v3(op: Operations) -> None:
    """Have jobs say whether they are light; releases that know nothing of it note and take them as before."""
    for statement in _V3:
        op.execute(statement)


def drop_v3(op: Operations) -> None:
    for statement in _DROP_V3:
        op.execute(statement)
