"""Ordertrail beside its rivals: how many orders a second, how long one takes, how much memory; see README.md."""
