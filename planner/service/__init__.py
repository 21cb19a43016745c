"""What runs beside a service once it is tuned."""
