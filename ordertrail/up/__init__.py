"""Everything on this machine from one command: PostgreSQL, the simulated exchange, the API."""
