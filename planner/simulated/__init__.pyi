from planner.simulated.load import simulate_load as simulate_load
from planner.simulated.scheduler import SimulatedEngine as SimulatedEngine
from planner.simulated.serve import ServeAsk as ServeAsk
from planner.simulated.serve import serve_simulated as serve_simulated
from planner.simulated.start import SEEDS_PER_TRIAL as SEEDS_PER_TRIAL
from planner.simulated.start import start_engine as start_engine
from planner.simulated.start import start_live as start_live
from planner.simulated.start import start_seconds as start_seconds
