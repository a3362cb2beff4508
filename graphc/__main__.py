"""`python -m graphc` is the command line."""

from graphc.cli.main import main

raise SystemExit(main())
