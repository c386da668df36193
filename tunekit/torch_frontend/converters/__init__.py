"""One converter per operator, in a file per family."""
