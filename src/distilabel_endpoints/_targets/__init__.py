"""From what a user names to an open client.

- `settings`: what was named. `urls`: which URL that is. `hub`: models and endpoints of the Hub.
- `probe`: who the server is. `waiting`, `waking`: until it is ready. `credentials`: the token.
- `router_models`, `pricing`: who serves a model at the router, and for how much.
- `connect`: all of these in order. `endpoints`: several as one pool. `description`: what it is.
"""
