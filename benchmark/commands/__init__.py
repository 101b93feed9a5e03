"""The commands: each parses, calls, prints. Heavy imports happen inside the functions."""
