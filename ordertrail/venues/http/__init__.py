"""A venue that speaks the protocol of `simulated_exchange/README.md` over HTTP."""
