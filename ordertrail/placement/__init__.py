"""Station 1, client → venue: record the intent, send, record the outcome."""
