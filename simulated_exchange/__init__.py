"""A simulated exchange: price-time matching, a durable log of its own, and faults on demand.

It stands on the other side of the wire and imports nothing of Ordertrail. Its protocol is in README.md.
"""
