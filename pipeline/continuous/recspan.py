"""The command `recspan`, for processes that this one starts."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
