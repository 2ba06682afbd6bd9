"""A dedicated endpoint's life around a run: started on the user's word, and left as it was found.

What decides (`decisions`), what it looks at (`sight`, `hardware_prices`) and what does it
(`restore`, `lease`, `endpoint_api`) are light, as they are loaded in the watchdog's process too;
`life` is the face.
"""
