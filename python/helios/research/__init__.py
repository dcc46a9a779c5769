"""Research: backtests, their results and reports, and the choice of pairs."""
