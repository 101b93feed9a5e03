"""What is kept apart from the records, to be looked at and never to be decided by.

A diagnostic may have seen what a run must not: the test split at every epoch. It lies in a folder
of its own beside the records (``<runs>/diagnostics/<run id>/``), it is written after everything
that it is about is decided, and only reports read it.
"""
