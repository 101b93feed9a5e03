"""MLflow: what people look at. The records are what survives."""
