"""Station 3, what is in doubt is queried: verification, resends, settling, and what the exchange has unexpectedly."""
