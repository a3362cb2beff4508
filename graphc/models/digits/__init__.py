"""The embedded data set of handwritten digits (a file, no code); SOURCE.txt gives its origin."""
