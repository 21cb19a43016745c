"""Predict a deployment before it is launched: memory per GPU, whether the engine starts, its speed.

In: a model, cards, an engine's settings. Out: `Deployment`, `Answer`, predictions with intervals. Launches and
measures nothing, and does not know studies. Read `deployment.py` first, then `memory/per_gpu.py` and `speed/step.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answer": ["Answer", "Setup", "unknown_flags"],
        "batch": ["answer_lines", "lines_of"],
        "deployment": ["Deployment"],
        "explore": ["SideBySide", "Fit", "Sweep", "fit", "layouts_of", "sweep"],
        "fixes": ["Fix", "Spelling", "nearest_fixes", "works"],
        "loaded": ["loaded_model"],
        "moves": ["changed"],
        "margins": ["MOST_MARGIN", "start_margins"],
        "memory.calibration": [
            "ImpossibleCalibrationError",
            "SAME_CARD_FRACTION",
            "calibrate",
            "load_calibrations",
            "predicted_figures",
            "real_figures",
            "save_calibrations",
            "strictest",
        ],
        "memory.overheads": ["num_cuda_graphs"],
        "memory.per_gpu": [
            "Calibration",
            "Calibrations",
            "MemoryEstimate",
            "MemoryFigures",
            "WATERMARK_FRACTION",
            "calibration_key",
            "estimate_memory",
        ],
        "memory.weights": ["weight_bytes"],
        "relevance": ["RELEVANCE_OF", "seen_by"],
        "risks": ["SAFE_SPARE_BYTES", "dangers", "memory_danger", "no_effect", "shm_danger"],
        "kernel_rules": ["quantization_conflict"],
        "rules": ["RULES", "check", "violations"],
        "speed.capacity": ["predict_capacity"],
        "speed.coefficients": ["Coefficients", "default_coefficients"],
        "speed.prediction": ["most_in_flight", "predict", "running_seqs"],
        "speed.step": ["Step", "StepModel", "prefill_pairs"],
        "speed.step_timer": ["DecodeCost"],
        "view": ["estimate_view", "exploration_view"],
    },
)
