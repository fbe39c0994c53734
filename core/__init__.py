"""The vocabulary of Adloom: columns, schemas, params, errors, seeding, stages, tracking. Imports nothing else of ours."""
