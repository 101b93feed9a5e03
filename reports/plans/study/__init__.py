"""Plans of studies of our own: each says beforehand what is compared, and on what."""
