"""One HTML page of what benchmarks, sessions and explanations found out, without a network."""
