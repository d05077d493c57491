"""What own code adds to trainings: losses, and metrics of evaluations."""
