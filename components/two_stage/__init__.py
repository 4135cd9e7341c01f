"""Two stages in one SavedModel: retrieve candidates, rank them."""
