"""Adapters from the client libraries to the `Client` protocol of `distilabel_endpoints.records`.

    transport.py   the one httpx2 client both libraries send through: token, caps, what happened
    failures.py    the one table that classifies what happened
    wording.py     what the body of an error says
    redaction.py   no token and no prompt in what a server said
    answers.py     bodies and streams -> completions
    parameters.py  generation parameters -> each client's keyword arguments
    bounds.py      what a parameter's value may be
    hub.py         huggingface_hub.AsyncInferenceClient
    openai.py      openai.AsyncOpenAI
    credentials.py which token goes where
    targets.py     which URL            probe.py  which server, which model
    hub_targets.py the models and endpoints that the Hub knows
    opening.py     from what a user names to an open client

Each third-party library has its one door here; nothing above imports one.
"""
