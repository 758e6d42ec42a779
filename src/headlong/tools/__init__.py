"""What the command line does beyond generating: inspect, verify, demonstrate."""
