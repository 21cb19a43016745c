"""What bounds a running server: `window.py` watches its metrics, `bound.py` judges, `changes.py` asks the models."""
