"""What a model costs on this device: the parts of the task `cost`, each usable by itself."""
