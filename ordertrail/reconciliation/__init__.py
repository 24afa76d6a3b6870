"""Station 3, what we are unsure of, we ask: verification, resends, settling, and what the exchange has unasked."""
