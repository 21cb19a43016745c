"""How many hosts a demand needs: instances as measured, queues simulated, the cheapest layout found.

In: a demand and measured instances. Out: a plan with its figures and view. It launches nothing. Read `plan.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "options": ["asked_fleet"],
        "plan": ["plan_fleet"],
        "spec": ["FleetSpec"],
        "view": ["print_plan"],
    },
)
