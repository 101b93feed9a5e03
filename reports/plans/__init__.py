"""Named plans: what to run for which table or figure of which paper."""
