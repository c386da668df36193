"""The operators, a file for each family; a file that lies here is found by itself."""
