"""Sessions: one run of a recipe against a budget, begun or gone on with."""
