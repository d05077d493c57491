"""``python -m studies``: the command `studies`, beside whatever lies in the current folder."""

import sys

if not sys.flags.safe_path and sys.path[0] != __file__.rpartition("/studies/")[0]:
    del sys.path[0]  # the current folder, where a yaml.py or random.py would hide what is imported below

from studies.engine.cli.main import main

if __name__ == "__main__":
    main()
