"""`python -m distilabel`."""

from distilabel.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
