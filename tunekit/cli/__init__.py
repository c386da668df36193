"""The command line: one module per verb. Each parses, calls the packages below and renders."""
