"""What is asked of the catalogue and written to it: functions of an open connection."""
