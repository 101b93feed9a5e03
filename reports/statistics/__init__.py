"""What the data support: resampling, permutation, sums over samples, summaries of a surface."""
