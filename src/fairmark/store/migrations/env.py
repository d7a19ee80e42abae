"""Alembic's entry: the connection comes from `store.upgrade`, never from a configuration file."""

from alembic import context

from fairmark.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
