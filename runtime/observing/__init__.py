"""The network observes itself: what it reads, decides and says of it."""
