"""What the ways from a framework's model to Relax share: folding, recurrence, refusals."""
