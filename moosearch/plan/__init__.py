"""What a search space file asks for, checked as a whole before anything starts. Imports no Ray."""
