"""The schema, and how Alembic is run over it."""
