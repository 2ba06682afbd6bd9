"""`python -m distilabel_endpoints`."""

from distilabel_endpoints.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
