"""The lab: a live deployment changes its model under load. ``python -m demo`` runs it."""
