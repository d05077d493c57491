"""Options of every task as frozen dataclasses, with the rules between them. Standard library only."""
