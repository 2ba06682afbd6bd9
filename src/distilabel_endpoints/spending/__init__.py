"""What a run spends, will spend and may spend: tokens, dollars and time.

- `amounts`: what things cost. `budget`: what a user allows. `ledger`: what is spent and reserved.
- `reservation`: the most that one attempt may cost, and what it did cost. `account`: the ledger as
  the engine uses it. `prices`, `price_table`: what a token costs.
- `cohort`, `intervals`, `forecast`: what the whole run will cost, from a random part of it.
"""
