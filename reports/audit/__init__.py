"""Whether a paper's printed numbers agree with each other."""
