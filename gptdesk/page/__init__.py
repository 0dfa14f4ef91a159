"""The page as it is served: which events and files are whose, and what the values of an event may be."""
