"""A live run: its settings, the process that keeps it, and what an operator asks of it."""
