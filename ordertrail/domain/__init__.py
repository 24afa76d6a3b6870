"""What an order is and what may be said of it: values in, values out, nothing that waits, reads or writes."""
