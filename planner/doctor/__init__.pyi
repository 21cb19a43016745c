from planner.doctor.before_launch import check_before_launch as check_before_launch
from planner.doctor.examination import document as document
from planner.doctor.examination import examine as examine
from planner.doctor.examination import exit_code as exit_code
from planner.doctor.examination import parse_backend as parse_backend
from planner.doctor.examination import read_case as read_case
from planner.doctor.view import doctor_view as doctor_view
