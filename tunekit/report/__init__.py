"""How results are shown: on a terminal, as Markdown, in files."""
