"""From raw tables to clean ones: parse each column, judge each row, pseudonymise, split by time. Pure functions over tables."""
