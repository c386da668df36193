"""Detectors: models that find objects, whose boxes depend on what is in the picture.

- `operators` what depends on data, as operators of fixed shapes
"""
