"""Tables as data, and how they print: the paper's, and those that judge robustness."""
