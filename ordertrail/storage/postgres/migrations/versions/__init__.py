"""How the schema came to be: one file a step, each applied once and never changed."""
