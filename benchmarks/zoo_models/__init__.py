"""The networks of the zoo, built with random weights: nothing is downloaded."""
