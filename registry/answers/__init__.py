"""Models as code: MLflow runs one of these files to answer for a registered bundle. Bundles hold data, these hold no state."""
