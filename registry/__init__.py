"""The one door to MLflow: tracker, registration, aliases, ledger, fetched bundles."""
