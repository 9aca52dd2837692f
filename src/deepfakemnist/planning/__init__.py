"""Assignment of actions and drivers to sources, person-disjoint splits, and rounds until quotas are met."""
