"""QA-MoE: quality-aware mixture of experts (ACL 2026).

Where to find what: ``config`` the options and their sources, ``encoder`` sequence to vector,
``quality`` Eq. 4-6, ``experts`` Eq. 7's mixture, ``fusion`` and ``model`` Eq. 7-9, ``loss`` Eq. 10.
"""
