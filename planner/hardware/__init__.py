"""Cards and machines: `GpuSpec` by name, what the driver sees, which cards are held, how they are joined.

In: a name, or the driver. Out: `GpuSpec`, `Card`, `Machine`. It knows no model and no engine. Read `gpus.py` first."""
