"""The Pusher: publishes blessed models after checking that they serve."""
