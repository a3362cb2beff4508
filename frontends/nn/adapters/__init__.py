"""Adapters: a few new parameters on the layers of a model whose own weights stay as they are."""
