"""``python -m studies``."""

from studies.engine.cli import main

if __name__ == "__main__":
    main()
