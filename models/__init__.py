"""Networks and what scoring needs. Knows no Prefect, MLflow, FastAPI and no path of the project."""
