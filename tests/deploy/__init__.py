"""What stands around the services: configurations, run by the programs they are for."""
