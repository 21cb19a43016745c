from planner.fleet.options import asked_fleet as asked_fleet
from planner.fleet.plan import plan_fleet as plan_fleet
from planner.fleet.spec import FleetSpec as FleetSpec
from planner.fleet.view import print_plan as print_plan
