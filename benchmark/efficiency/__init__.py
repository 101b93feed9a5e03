"""What a model costs (the paper's Table 9)."""
