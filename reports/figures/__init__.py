"""Figures: landscapes, curves, and the rest of the paper's."""
