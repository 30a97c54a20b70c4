"""``python -m nasbench``."""

from nasbench.cli import main

if __name__ == "__main__":
    main()
