"""From a framework's model to Relax, and what is mended on the way."""
