"""Side-by-side measurements; they call the product and hold no logic of their own."""
