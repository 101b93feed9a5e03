"""What the data support: errors of samples and seeds, sums over samples, summaries of a surface."""
