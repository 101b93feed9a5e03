"""Reports: tables and figures from the records of finished runs.

The way of a number: :mod:`reports.results` reads records into one tidy frame and groups the runs
into systems; :mod:`reports.statistics` says which differences the data support;
:mod:`reports.tables`, :mod:`reports.reliability` and :mod:`reports.figures` make tables and
pictures of them; :mod:`reports.write` writes everything to a folder, :mod:`reports.web` the page
that shows it. :mod:`reports.audit` checks printed numbers, :mod:`reports.plans` says which runs the
paper's tables need. Nothing here trains or runs a model.

A new table is a function ``Sources -> Table``, a new figure a function that returns a matplotlib
figure; both are then listed in :mod:`reports.write`.
"""
