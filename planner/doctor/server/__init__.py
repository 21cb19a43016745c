"""A running server is diagnosed: `window.py` watches its metrics, `bound.py` judges, `changes.py` asks the models."""
