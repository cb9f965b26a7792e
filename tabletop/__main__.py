"""`python -m tabletop` is the command `tabletop`, for a Python whose scripts are not on the path."""

from tabletop.main import main

if __name__ == "__main__":
    main()
