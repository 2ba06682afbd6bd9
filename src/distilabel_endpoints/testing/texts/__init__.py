"""The texts of answers, and instances of what constrains them."""
