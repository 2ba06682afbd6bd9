"""One attempt over the wire: the client libraries behind `distilabel_endpoints.records.Client`.

- `hub`, `openai`: `huggingface_hub.AsyncInferenceClient` and `openai.AsyncOpenAI` as clients.
- `transport`: the one HTTP client both send through: token, caps, what happened.
- `attempt`: what both do alike: send, read what came, in bounded time.
- `answers`, `streams`: whole bodies and events to completions.
- `failures`, `error_text`: what a failed exchange means; the server's words, without secrets.
- `parameters`: generation parameters to each route's keyword arguments.
- `adapting`: what a server does with them: what it refuses is sent in another form, once learned.
- `reasoning`: how much a model is to think. `sticky`: keeps to the provider that answered first.
- `proxies`: the route to a host: through which proxy, with which certificates.

No client library is imported above this room, but what finds a target on the Hub.
"""
