"""What the network knows: code, prompts and standards with their evidence, solutions, embeddings. May import sandbox."""
