"""The gate before the exchange: a breaker, a rate and a number in flight, each for placing, cancelling and querying."""
