"""Exchanges as we are connected to them: one Protocol, one folder an adapter."""
