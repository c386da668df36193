"""The command line: one module per verb. Each parses, calls the library and renders."""
