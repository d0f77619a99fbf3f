"""Sessions, their history, and answers by idempotency key."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _sessions()
    op.create_table(
        "session_states",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("tenant", "session")),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_entries",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("tenant", "session")),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("tokens", "at")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "answers",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("tenant", "session", "key")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("digest", "body")),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("answers_expiry", "answers", ["expires_at"])


def _sessions() -> None:
    op.create_table(
        "sessions",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("tenant", "id")),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("lm", "adapter")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("first_seq", "next_seq", "bytes")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "updated_at", "expires_at")),
        sa.Column("usage", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_expiry", "sessions", ["tenant", "expires_at"])
