"""Memory plans and barriers of schedules, and the checker that proves them."""
