"""The learner of runtime/routing in the daemon: what it may choose from, what came of it, what is kept and told.

``desk.py`` is what dispatch calls; ``arms.py`` and ``evidence.py`` are its pure rules, ``keeping.py`` its file. Must not
import the surfaces, the ledger (but for its errors; build.py puts it in) or Ray.
"""
