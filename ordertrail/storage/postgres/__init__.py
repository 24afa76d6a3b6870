"""PostgreSQL: the statements, the migrations, the connections, and the embedded server."""
