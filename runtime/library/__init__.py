"""The library of solutions in the daemon: asked before anybody is handed a request, told what came of it. See desk.py."""
