"""Real processes: started in milliseconds, started again when they die, given work, and brought to rest."""
