"""The durable queue between the feed and the processors: one Protocol, and the brokers that implement it."""
