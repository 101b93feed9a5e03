"""A stranger's package: it knows torch and nothing of this project."""
