"""Brings a database forward to the shape that this version knows. Alembic is imported only when there is work to do."""

from pathlib import Path

import sqlalchemy as sa

from python_bridge.errors import BridgeError

HEAD = "0001"
"""The newest revision of `versions/`; a test keeps the two equal."""


def migrate(connection: sa.Connection) -> None:
    """Bring the database to `HEAD`. The caller holds the store's lock and an open transaction, and commits it.

    Raises:
        BridgeError: `unavailable` for a database of a newer version, or one that is not ours.
    """
    found = current_revision(connection)
    if found == HEAD:
        return
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise BridgeError(
            "unavailable",
            f"the store has revision {found}, newer than the {HEAD} that this version of python-bridge knows; "
            "install the newer version again, or use another store",
            retryable=False,
        )
    _refuse_foreign_tables(connection, found)
    _upgrade(config, connection)


def current_revision(connection: sa.Connection) -> str | None:
    """Return the database's revision; ``None`` when it has none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _refuse_foreign_tables(connection: sa.Connection, found: str | None) -> None:
    if found is None and sa.inspect(connection).has_table("sessions"):
        raise BridgeError(
            "unavailable",
            "the database has a table `sessions` that is not ours; give the store a database of its own",
            retryable=False,
        )


def _upgrade(config: object, connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    assert isinstance(config, Config)  # noqa: S101 - narrows for the type checker
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


__all__ = ["HEAD", "current_revision", "migrate"]
