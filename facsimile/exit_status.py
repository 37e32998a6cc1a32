"""The exit statuses of all commands."""

OK = 0
SOME_FAILED = 1
"""Some photo could not be used; all others are done."""
WRONG_USE = 2
"""What was asked for cannot be done; the message says why."""
INTERRUPTED = 130
"""Stopped by Ctrl-C or SIGTERM; the same command continues where it stopped."""
