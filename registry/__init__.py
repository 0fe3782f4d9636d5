"""What the network knows: embeddings today, code and solutions as they come. May import sandbox only."""
