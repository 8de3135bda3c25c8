"""The statistics of the fleet, each method on arrays over all series at once."""
