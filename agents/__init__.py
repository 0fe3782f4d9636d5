"""What lives in the runtime: nodes, their strategies and their language models. May import registry and sandbox."""
