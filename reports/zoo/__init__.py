"""A list of submissions: ranked as far as the statistics go, claims beside what is measured."""
