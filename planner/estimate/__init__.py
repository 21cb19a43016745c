"""What is foretold of a deployment: memory per GPU, whether the engine starts, its speed.

In: a model, cards, an engine's settings. Out: `Deployment`, `Answer`, predictions with intervals. Nothing is launched
or measured, and no study is known. Read `deployment.py` first, then `memory/per_gpu.py` and `speed/step.py`."""
