"""What the data support: errors of samples and seeds, summaries of a surface."""
