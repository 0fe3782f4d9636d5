"""The command line: a thin client over HTTP; serve starts the daemon."""
