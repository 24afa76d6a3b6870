"""Station 2: what the exchange reports of orders, from its socket through a queue to rows."""
