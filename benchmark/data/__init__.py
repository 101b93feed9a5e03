"""Data sets: import from feature packages, checks, loading to a device, the synthetic generator."""
