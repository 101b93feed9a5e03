"""The QA-MoE paper's tables and figures as plans: ``table6.yaml`` is the plan ``paper/table6``.

Each file says which runs and which rows of their prediction tables the table or figure is read
from; what is shown is made by ``benchmark report`` from the records alone. The systems are those
that the paper's table names; figure 6 has every installed one, and ``--models`` brings others into
a table. Table 9 (efficiency) needs no training: ``benchmark efficiency --plan paper/table9``.
"""
