"""The tables of a store. `migrations/` holds how a database gets to this shape; a test compares the two."""

import sqlalchemy as sa

metadata = sa.MetaData()

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    # Raised by every take-over: what an earlier owner still wants to write no longer matches.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("lm", sa.Text),
    sa.Column("adapter", sa.Text),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("next_seq", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("usage", sa.Text, nullable=False),
    sa.Index("sessions_expiry", "tenant", "expires_at"),
    sqlite_with_rowid=False,
)

# A table of its own: every call changes the row of its session, and SQLite writes rows anew as a whole.
session_states = sa.Table(
    "session_states",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

session_entries = sa.Table(
    "session_entries",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("answers_expiry", "expires_at"),
    sqlite_with_rowid=False,
)

__all__ = ["answers", "metadata", "session_entries", "session_states", "sessions"]
