"""Work that outlives its connection: asynchronous requests and batches, taken up again after any end of the daemon."""
