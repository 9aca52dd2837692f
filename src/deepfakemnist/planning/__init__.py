"""Assignment of actions and drivers to sources, splits by person, and rounds until quotas are met."""
