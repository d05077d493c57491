"""Cost of a model on this device: the measurements of the task `cost`, each usable on its own."""
