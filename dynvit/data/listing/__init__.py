"""What decides, for every form on disk, which entries are classes and images, and what is said of the rest."""
