"""Which candidate comes next: Optuna's storage, the samplers, the Gaussian process on the speed model."""
