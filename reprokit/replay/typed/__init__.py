"""When two contents that are not equal are still the same result, by the kind of content."""
