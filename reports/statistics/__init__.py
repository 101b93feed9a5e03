"""What the data support: resampling, permutation, sums over conditions, summaries of a surface."""
