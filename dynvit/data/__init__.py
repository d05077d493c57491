"""Image sets: formats on disk, in-memory and streaming batches, augmentation; ``factory.load_data`` chooses."""
