"""Searching settings: trials are runs, scored on a validation table."""
