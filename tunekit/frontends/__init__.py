"""What both ways into Relax share: folding, recurrence, dilated kernels, refusals."""
