"""Programs in use: the registry in the daemon, what nodes are offered of it, what is kept, reviewed, distilled. See work.py."""
