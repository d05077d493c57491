"""``python -m studies``."""

from studies.engine.cli.main import main

if __name__ == "__main__":
    main()
