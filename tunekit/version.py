"""The version, for whoever writes it down; the package offers it as `tunekit.__version__`."""

__version__ = "0.2.0"
