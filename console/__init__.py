"""The operations console: a pure model that folds telemetry into view state; views only draw."""
