"""Training and evaluation of one classifier: what ``dynvit.tasks.classify`` is made of."""
