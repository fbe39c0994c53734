"""How the recommenders are trained; imported by the training stage only, never by a service."""
