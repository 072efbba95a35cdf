"""A classifier with the interface of scikit-learn's estimators."""
