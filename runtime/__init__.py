"""The organism: the request path, the live nodes, the ledger and every surface. Nothing imports it."""
