"""The harness: data, training, the prediction table, runs, tracking and the command line.

It names no model: models, data sets and commands are found through entry points.
"""
