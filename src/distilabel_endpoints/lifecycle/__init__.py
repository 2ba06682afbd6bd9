"""A dedicated endpoint's life around a run: started if the user asks for it, and left as it was.

What decides (`decisions`), what it looks at (`sight`, `hardware_prices`) and what does it
(`restore`, `lease`, `endpoint_api`) are light, as they are loaded in the watchdog's process too;
`life` is the face.
"""
