"""Run by alembic: migrates over the connection that `migrate` holds, inside its transaction."""

from alembic import context

from python_bridge.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
