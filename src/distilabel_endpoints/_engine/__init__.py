"""From rows to results, whatever the endpoint, the network or the machine does.

- `scheduler`: requests in, outcomes out; the only place that sends.
- `queue`, `in_flight`: requests that wait for a permit; rows that are pulled and not done.
- `pool`: several endpoints as one. `generations`: one row, as many completions as asked for.
- `retry`, `retry_budget`: what to do after a failed attempt; retries that wait for an answer.
- `loop`: the process's one event loop. `bridge`: rows and results between threads and that loop.
"""
