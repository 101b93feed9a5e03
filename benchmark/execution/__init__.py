"""From a plan to records: which runs are to do, by which worker, how far they are."""
