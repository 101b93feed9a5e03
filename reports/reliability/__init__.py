"""Does reliability mean anything? Scores, log-variance, the gate, and verdicts."""
