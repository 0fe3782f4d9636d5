"""Language models: one port (chat.py), a real client (http.py), selection and resilience (pool.py), servers to talk to."""
