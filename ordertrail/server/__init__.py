"""The API as processes: how they are put together, serve, drain and are replaced."""
