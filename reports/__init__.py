"""Reports: tables and figures from the records of finished runs.

The way of a number: :mod:`reports.results` reads records into one tidy frame and groups the runs
into systems; :mod:`reports.statistics` says which differences the test samples support;
:mod:`reports.robustness` makes tables and :mod:`reports.figures` pictures of them;
:mod:`reports.build` writes everything to a folder, :mod:`reports.page` the page that shows it.
Nothing here trains or runs a model.

A new table is a function ``Results -> Table``, a new figure a function that returns a matplotlib
figure; both are then listed in :mod:`reports.build`.
"""
