"""Makes helpers in this folder importable from every test: `from random_graphs import …`."""
