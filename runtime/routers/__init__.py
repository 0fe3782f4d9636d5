"""Generated routers in the daemon: artifacts of the registry that choose before the learner does, and how they come to be.

``desk.py`` serves them; ``evolve.py`` has better ones written, tried and proposed; ``checking.py``, ``replay.py``,
``writing.py``,
``logbook.py``, ``guiding.py``, ``prompting.py``, ``proposing.py`` are its parts; ``views.py`` what the operator sees. The rules
are pure and live in runtime/routing. Must not import the surfaces, the ledger (build.py puts it in) or Ray.
"""
