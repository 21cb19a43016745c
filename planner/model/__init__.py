"""A model's config.json and checkpoint as a `ModelSpec`: the figures that memory and speed follow from.

In: a name, a folder or a config.json. Out: `ModelSpec`. It knows no card and no engine version.
Read `spec.py` first."""
