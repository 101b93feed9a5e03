"""What a degraded input is: the batch, the degradation operator, missing rules, draws, conditions.

Pure tensors; this package knows no model, no data set and no tracker (the lowest floor).
"""
