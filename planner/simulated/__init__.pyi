from planner.simulated.load import simulate_load as simulate_load
from planner.simulated.start import start_engine as start_engine
from planner.simulated.start import start_seconds as start_seconds
