"""How a request is executed: one file a strategy, each an async function over the Toolbox; compose.py reads and nests them."""
