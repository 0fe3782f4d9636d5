"""The only room that imports ray: node actors, the warm pool, adoption, and the mailbox that serves the hub."""
