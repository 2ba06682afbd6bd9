"""The engine: from rows to results, whatever the endpoint, the network or the machine does.

retry.py, limiter.py   pure: what to do next, and how many at once
scheduler.py           requests in, outcomes out: the only place that sends
generations.py         one row: as many completions as asked for, checked
portal.py              the process's one event loop, and one engine per target
journal.py             the durable log of results
"""
