"""Published methods re-implemented under the suite's model contract, one module per method."""
