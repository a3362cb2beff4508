"""The embedded text of the gpt model (a file, no code); SOURCE.txt gives its origin."""
