"""Where code that nobody trusts runs. Knows nothing of agents; imported by registry, agents and runtime.

``runner.Sandbox`` is the way in; ``records`` has the words. What runs inside the locked processes (zygote, child, policy, guards,
facades) is imported only there.
"""
